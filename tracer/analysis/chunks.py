"""The rows of a trace in tables of a bounded size: large enough for Arrow's grouping, small enough for any machine."""

from collections.abc import Iterator, Sequence
from typing import Any

ROWS = 1 << 19  # of one table: grouping costs a fixed part for each, and this many with all columns are 50 MB


def chunks(trace: Any, columns: Sequence[str], rows: int = ROWS) -> Iterator[Any]:
    """``pyarrow.Table`` objects of about ``rows`` rows with ``columns``, in the trace's order.

    Where t_exit and t_entry are among them a column ``handler_ns`` (int64, their difference) is added, where count and
    size are, a column ``bytes`` (int64, their product).
    """
    import pyarrow as pa

    held: list[Any] = []
    count = 0
    for batch in trace.batches(columns):
        held.append(batch)
        count += batch.num_rows
        if count >= rows:
            yield _derived(pa.Table.from_batches(held).unify_dictionaries())
            held, count = [], 0
    if held:
        yield _derived(pa.Table.from_batches(held).unify_dictionaries())


def named(column: Any, names: Sequence[str]) -> Any:
    """Which rows of a dictionary column (as :func:`chunks` gives them, of one dictionary) have one of ``names``.

    Codes are compared: to make text of them first costs more than all else that an analysis does.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    codes = pa.chunked_array([chunk.indices for chunk in column.chunks], column.type.index_type)
    words = column.chunk(0).dictionary if column.num_chunks else pa.array([], pa.utf8())
    wanted = pc.indices_nonzero(pc.is_in(words, pa.array(names, pa.utf8())))
    return pc.is_in(codes, wanted.cast(column.type.index_type))


def _derived(table: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    names = set(table.column_names)
    if {"t_exit", "t_entry"} <= names:
        table = table.append_column("handler_ns", pc.subtract(table["t_entry"], table["t_exit"]))
    if {"count", "size"} <= names:
        moved = pc.multiply(table["count"].cast(pa.int64()), table["size"].cast(pa.int64()))
        table = table.append_column("bytes", moved)
    return table
