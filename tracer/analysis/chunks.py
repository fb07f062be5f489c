"""The rows of a trace in tables of bounded size: large enough for Arrow's grouping, small enough for any machine."""

from collections.abc import Iterator, Sequence
from typing import Any

ROWS = 1 << 18  # per table: with fewer rows calls dominate, more leave the processor's cache


def chunks(trace: Any, columns: Sequence[str], rows: int = ROWS) -> Iterator[Any]:
    """``pyarrow.Table`` objects of about ``rows`` rows with ``columns``, in the trace's order; each dictionary column
    has one dictionary."""
    import pyarrow as pa

    held: list[Any] = []
    count = 0
    for batch in trace.batches(columns):
        held.append(batch)
        count += batch.num_rows
        if count >= rows:
            yield pa.Table.from_batches(held).unify_dictionaries()
            held, count = [], 0
    if held:
        yield pa.Table.from_batches(held).unify_dictionaries()


def named(column: Any, names: Sequence[str]) -> Any:
    """The rows of a dictionary column (from :func:`chunks`, with one dictionary) that have one of ``names``.

    Codes are compared: converting them to text first would cost more than everything else in an analysis.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    codes, words = coded(column)
    wanted = pc.indices_nonzero(pc.is_in(words, pa.array(names, pa.utf8())))
    return pc.is_in(codes, wanted.cast(codes.type))


def coded(column: Any) -> tuple[Any, Any]:
    """The codes of a dictionary column (from :func:`chunks`, with one dictionary), and the dictionary."""
    import pyarrow as pa

    codes = pa.chunked_array([chunk.indices for chunk in column.chunks], column.type.index_type)
    return codes, column.chunk(0).dictionary if column.num_chunks else pa.array([], column.type.value_type)
