"""One pass over a trace for any number of groupings, in bounded memory, on two cores.

Each worker thread reads and decompresses a share of the batches (pyarrow releases the GIL). It keeps the prepared rows
until there are enough to group at once, then merges the small results. The workers' results are merged last.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile
from threading import Event
from typing import Any

from attrs import define, field, frozen

from tracer.analysis.chunks import ROWS, coded
from tracer.read.reader import Trace
from tracer.record.rewrite import empty

WORKERS = 2
SMALL = 1 << 18  # bytes of a file that one thread reads
GROUPS = 1 << 18  # groups kept of one grouping
BATCHES = 1 << 12  # kept at most: a batch of few rows takes as much memory as one of many
PENDING = 64  # partial results of a worker that wait to be merged; bounds their number and their rows

# The aggregate that merges partial results of an aggregate.
MERGE = {"count": "sum", "sum": "sum", "min": "min", "max": "max"}
BOTH = {"min": "min_max", "max": "min_max"}  # Arrow computes the two together


@frozen
class Grouping:
    """Rows of equal ``keys`` become one, with ``aggregates``: result name to (column, count | sum | min | max).

    ``columns`` are read from the trace. ``prepare`` makes the batch with the keys and aggregated columns from a batch
    of those, and may leave rows out; None: the batch as it is. With more than :data:`GROUPS` groups, the first key of
    ``fold`` becomes null for its rarest values, then, if needed, the next key. Sums stay right, and each reported value
    is at least as frequent as reported.
    """

    columns: tuple[str, ...]
    keys: tuple[str, ...]
    aggregates: Mapping[str, tuple[str, str]]
    prepare: Callable[[Any], Any] | None = None
    fold: tuple[str, ...] = ()

    def prepared(self, batch: Any) -> Any:
        """The prepared rows of a batch of the trace."""
        chosen = batch.select(list(self.columns))
        return chosen if self.prepare is None else self.prepare(chosen)


def scan(trace: Trace, *groupings: Grouping) -> list[Any]:
    """The result of each grouping, a ``pyarrow.Table`` of its keys and aggregates, in no particular order.

    Dictionary columns come back as utf8. Raises TraceError if the trace is damaged.
    """
    wanted = {column for grouping in groupings for column in grouping.columns}
    columns = [name for name in trace.schema.names if name in wanted]
    nothing = empty(trace.schema).select(columns)
    # A stream may grow meanwhile, and two threads would see two ends. For a small file threads take longer.
    shares = WORKERS if trace.kind == "file" and trace.path.stat().st_size >= SMALL else 1
    stopped = Event()

    def worker(which: int) -> list[_Partial]:
        partials = [_Partial(grouping, nothing) for grouping in groupings]
        for batch in takewhile(lambda _: not stopped.is_set(), trace.batches(columns, slice(which, None, shares))):
            for partial in partials:
                partial.add(batch)
        for partial in partials:
            partial.group()
        return partials

    if shares == 1:
        results = [worker(0)]
    else:
        with ThreadPoolExecutor(shares) as pool:
            try:
                results = list(pool.map(worker, range(shares)))
            finally:
                stopped.set()  # an error, or Ctrl-C, ends the other threads too
    return [
        _merge([table for partials in results for table in partials[number].tables], grouping)
        for number, grouping in enumerate(groupings)
    ]


def regroup(table: Any, keys: Sequence[str], aggregates: Mapping[str, tuple[str, str]]) -> Any:
    """Group a result of :func:`scan` again by other keys: some of its own, or keys made from them."""
    named = [(name, MERGE[function]) for name, (_, function) in aggregates.items()]
    merged = table.group_by(list(keys), use_threads=False).aggregate(named)
    return merged.rename_columns([*keys, *aggregates])


def grouped(table: Any, grouping: Grouping) -> Any:
    """Prepared rows as one grouped table; :func:`regroup` joins several such results."""
    import pyarrow as pa
    import pyarrow.compute as pc

    words: dict[str, Any] = {}
    columns = {}
    for name in dict.fromkeys([*grouping.keys, *(column for column, _ in grouping.aggregates.values())]):
        columns[name] = table[name]
        if pa.types.is_dictionary(table[name].type):  # codes are grouped, not names
            columns[name], words[name] = coded(table[name])
    wanted = {name: (column, BOTH.get(how, how)) for name, (column, how) in grouping.aggregates.items()}
    made = pa.table(columns).group_by(list(grouping.keys), use_threads=False).aggregate(list(set(wanted.values())))
    result = {key: words[key].take(made[key]) if key in words else made[key] for key in grouping.keys}
    for name, (column, how) in wanted.items():
        found = made[f"{column}_{how}"]
        result[name] = pc.struct_field(found, grouping.aggregates[name][1]) if how in BOTH.values() else found
    return pa.table(result)


@define
class _Partial:
    """One grouping in one worker: batches waiting to be grouped, and results waiting to be merged."""

    grouping: Grouping
    nothing: Any  # a batch without rows, from which an empty trace gets its result's schema
    held: list[Any] = field(factory=list)
    rows: int = 0
    tables: list[Any] = field(factory=list)

    def add(self, batch: Any) -> None:
        """Add a batch of the trace."""
        prepared = self.grouping.prepared(batch)
        if prepared.num_rows:
            self.held.append(prepared)
            self.rows += prepared.num_rows
        if self.rows >= ROWS or len(self.held) >= BATCHES:
            self.group()

    def group(self) -> None:
        """Group the waiting batches. Neither the number nor the rows of the results grow without limit."""
        import pyarrow as pa

        table = pa.Table.from_batches(self.held or [self.grouping.prepared(self.nothing)]).unify_dictionaries()
        self.tables.append(grouped(table, self.grouping))
        self.held, self.rows = [], 0
        if len(self.tables) >= PENDING or sum(one.num_rows for one in self.tables) > 2 * GROUPS:
            self.tables = [_merge(self.tables, self.grouping)]


def _merge(tables: list[Any], grouping: Grouping) -> Any:
    import pyarrow as pa

    merged = regroup(pa.concat_tables(tables), grouping.keys, grouping.aggregates)
    for key in grouping.fold:
        if merged.num_rows > GROUPS:
            merged = _folded(merged, grouping, key)
    return merged


def _folded(merged: Any, grouping: Grouping, key: str) -> Any:
    """The groups of the most frequent values of one key, and the others without that value."""
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
