"""One pass over a trace for any number of groupings, in bounded memory, on two cores.

Batches are gathered into chunks; each chunk is grouped by itself, in a worker thread (pyarrow releases the GIL), and
the small results are merged. What is read meanwhile is unpacked by Arrow's own threads.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from attrs import frozen

from tracer.reader import Trace

CHUNK = 1 << 18  # rows grouped at once: fewer cost more calls, more leave the processor's cache
WORKERS = 2
GROUPS = 1 << 18  # groups kept of one grouping
PENDING = 64  # partial results that wait to be merged

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
    parts: list[list[Any]] = [[] for _ in groupings]
    with ThreadPoolExecutor(WORKERS) as pool:
        waiting: deque[Future[list[Any]]] = deque()
        for chunk in _chunks(trace, columns):
            waiting.append(pool.submit(lambda chunk: [_partial(chunk, grouping) for grouping in groupings], chunk))
            if len(waiting) > WORKERS:
                _collect(parts, waiting.popleft().result(), groupings)
        while waiting:
            _collect(parts, waiting.popleft().result(), groupings)
    return [
        _merge(tables, grouping) if tables else _partial(trace.schema.empty_table().select(columns), grouping)
        for tables, grouping in zip(parts, groupings, strict=True)
    ]


def regroup(table: Any, keys: Sequence[str], aggregates: Mapping[str, tuple[str, str]]) -> Any:
    """A result of :func:`scan` grouped once more, by other keys: some of its own, or what was made of them."""
    named = [(name, MERGE[function]) for name, (_, function) in aggregates.items()]
    merged = table.group_by(list(keys), use_threads=False).aggregate(named)
    return merged.rename_columns([*keys, *aggregates])


def _chunks(trace: Trace, columns: Sequence[str]) -> Iterator[Any]:
    import pyarrow as pa

    held: list[Any] = []
    rows = 0
    for batch in trace.batches(columns):
        held.append(batch)
        rows += batch.num_rows
        if rows >= CHUNK:
            yield pa.Table.from_batches(held)
            held, rows = [], 0
    if held:
        yield pa.Table.from_batches(held)


def _partial(chunk: Any, grouping: Grouping) -> Any:
    """One chunk, grouped."""
    import pyarrow as pa

    table = chunk.select(list(grouping.columns)).unify_dictionaries()
    table = grouping.prepare(table) if grouping.prepare is not None else table
    grouped = table.group_by(list(grouping.keys), use_threads=False).aggregate(list(grouping.aggregates.values()))
    grouped = grouped.rename_columns([*grouping.keys, *grouping.aggregates])
    plain = [pa.field(f.name, f.type.value_type if pa.types.is_dictionary(f.type) else f.type) for f in grouped.schema]
    return grouped.cast(pa.schema(plain))


def _collect(parts: list[list[Any]], new: list[Any], groupings: Sequence[Grouping]) -> None:
    """Keep partial results, merged now and then so that neither their number nor their rows grow without end."""
    for tables, table, grouping in zip(parts, new, groupings, strict=True):
        tables.append(table)
        if len(tables) >= PENDING or sum(table.num_rows for table in tables) > 2 * GROUPS:
            tables[:] = [_merge(tables, grouping)]


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
