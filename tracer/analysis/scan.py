"""One pass over a trace for any number of groupings, in bounded memory, on two cores.

Each worker thread reads, unpacks and groups a share of the batches (pyarrow releases the GIL), chunk by chunk, and
merges the small results; the workers' results are merged at the end.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

from attrs import frozen

from tracer.analysis.chunks import ROWS, chunks
from tracer.reader import Trace

WORKERS = 2
GROUPS = 1 << 18  # groups kept of one grouping
PENDING = 64  # partial results of a worker that wait to be merged: neither their number nor their rows may grow

# What merges a partial result of an aggregate with others of its kind.
MERGE = {"count": "sum", "sum": "sum", "min": "min", "max": "max"}


@frozen
class Grouping:
    """Rows of equal ``keys`` become one, with ``aggregates``: result name to (column, count | sum | min | max).

    ``columns`` are what is read from the trace; ``prepare`` makes the table with the keys and aggregated columns out of
    a chunk of those, and may leave rows out; None: the chunk as it is. Where there are more than :data:`GROUPS` groups,
    the first key of ``fold`` becomes null for its rarest values, then, if need be, the next: sums stay right, and each
    value that is told is at least as frequent as told.
    """

    columns: tuple[str, ...]
    keys: tuple[str, ...]
    aggregates: Mapping[str, tuple[str, str]]
    prepare: Callable[[Any], Any] | None = None
    fold: tuple[str, ...] = ()


def scan(trace: Trace, *groupings: Grouping) -> list[Any]:
    """The result of each grouping, a ``pyarrow.Table`` of its keys and aggregates, in no particular order.

    Dictionary columns come back as utf8. Raises TraceError where the trace turns out to be damaged.
    """
    wanted = {column for grouping in groupings for column in grouping.columns}
    columns = [name for name in trace.schema.names if name in wanted]
    empty = trace.schema.empty_table().select(columns)
    shares = WORKERS if trace.kind == "file" else 1  # a stream may grow meanwhile, and two would see two ends of it
    stopped = Event()

    def worker(which: int) -> list[list[Any]]:
        parts = [[grouped(empty, grouping)] for grouping in groupings]
        for chunk in chunks(trace, columns, ROWS, (which, shares)):
            if stopped.is_set():
                break
            for tables, grouping in zip(parts, groupings, strict=True):
                tables.append(grouped(chunk, grouping))
                if len(tables) >= PENDING or sum(table.num_rows for table in tables) > 2 * GROUPS:
                    tables[:] = [_merge(tables, grouping)]
        return parts

    with ThreadPoolExecutor(shares) as pool:
        try:
            results = list(pool.map(worker, range(shares)))
        finally:
            stopped.set()  # an error, or Ctrl-C, ends the others too
    return [
        _merge([table for parts in results for table in parts[number]], grouping)
        for number, grouping in enumerate(groupings)
    ]


def regroup(table: Any, keys: Sequence[str], aggregates: Mapping[str, tuple[str, str]]) -> Any:
    """A result of :func:`scan` grouped once more, by other keys: some of its own, or what was made of them."""
    named = [(name, MERGE[function]) for name, (_, function) in aggregates.items()]
    merged = table.group_by(list(keys), use_threads=False).aggregate(named)
    return merged.rename_columns([*keys, *aggregates])


def grouped(chunk: Any, grouping: Grouping) -> Any:
    """The rows of one table, grouped; :func:`regroup` joins several such results, one after another."""
    import pyarrow as pa

    table = chunk.select(list(grouping.columns))
    table = grouping.prepare(table) if grouping.prepare is not None else table
    made = table.group_by(list(grouping.keys), use_threads=False).aggregate(list(grouping.aggregates.values()))
    made = made.rename_columns([*grouping.keys, *grouping.aggregates])
    plain = [pa.field(f.name, f.type.value_type if pa.types.is_dictionary(f.type) else f.type) for f in made.schema]
    return made.cast(pa.schema(plain))


def _merge(tables: list[Any], grouping: Grouping) -> Any:
    import pyarrow as pa

    merged = regroup(pa.concat_tables(tables), grouping.keys, grouping.aggregates)
    for key in grouping.fold:
        if merged.num_rows > GROUPS:
            merged = _folded(merged, grouping, key)
    return merged


def _folded(merged: Any, grouping: Grouping, key: str) -> Any:
    """The groups of the most frequent values of one key as they are, the others without that value."""
    import pyarrow as pa
    import pyarrow.compute as pc

    counted = next(name for name, (_, function) in grouping.aggregates.items() if function == "count")
    values = merged.group_by(key, use_threads=False).aggregate([(counted, "sum"), (counted, "count")])
    values = values.sort_by([(f"{counted}_sum", "descending")])
    room = pc.less_equal(pc.cumulative_sum(values[f"{counted}_count"]), GROUPS // 2)
    kept = pc.is_in(merged[key], pc.drop_null(values.filter(room)[key].combine_chunks()))
    folded = pc.if_else(kept, merged[key], pa.scalar(None, merged.schema.field(key).type))
    merged = merged.set_column(merged.column_names.index(key), key, folded)
    return regroup(merged, grouping.keys, grouping.aggregates)
