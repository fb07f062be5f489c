"""Exits over time as a density: counts in time bins, small for any length of trace."""

from collections.abc import Iterable, Sequence
from typing import Any

from attrs import frozen

from tracer.analysis.scan import Grouping, grouped, regroup
from tracer.analysis.tables import field
from tracer.analysis.totals import MEASURES, with_handling

BINS = 16384  # over the whole span: more than the columns of a screen, so that a reader can zoom in
CELLS = 60_000  # bins with exits, of all groups, that a page can carry; pairs of bins are joined until it holds


def density_schema(keys: Sequence[tuple[str, Any]]) -> Any:
    """The schema of a density by ``keys`` (name and pyarrow type)."""
    import pyarrow as pa

    return pa.schema(
        [
            field("bin", pa.int64(), "number of the time bin; only bins with exits are there"),
            field("t", pa.int64(), "start of the bin", "ns"),
            *(field(name, type_, "what the exits are of") for name, type_ in keys),
            field("exits", pa.int64(), "exits whose t_exit is in the bin"),
            field(
                "handling_ns", pa.int64(), "their handling time in all, also what of it is after the bin's end", "ns"
            ),
        ]
    )


@frozen
class Binned:
    """A density: ``table`` is a ``pyarrow.Table`` of :func:`density_schema`, by bin and ``keys``; a bin is ``width`` ns
    long."""

    keys: tuple[str, ...]
    width: int
    table: Any

    def totals(self) -> Any:
        """Each group's ``exits`` and ``handling_ns`` over all bins, most exits first."""
        grouped = self.table.group_by(list(self.keys)).aggregate([("exits", "sum"), ("handling_ns", "sum")])
        named = grouped.rename_columns([name.removesuffix("_sum") for name in grouped.column_names])
        return named.sort_by([("exits", "descending"), *((key, "ascending") for key in self.keys)])


class Density:
    """Exits by time bin and ``keys``, over tables added one after another (columns t_exit, t_entry and the keys).

    The bins divide the time from 0 to ``span`` (ns) evenly. Times outside count in the first or the last bin.
    """

    def __init__(self, span: int, keys: Sequence[str], *, bins: int = BINS, cells: int = CELLS) -> None:
        self._keys = list(keys)
        self._cells = cells
        self._width = max(-(-span // bins), 1)
        self._last = max(span - 1, 0) // self._width
        self._by = ("bin", *keys)
        self._total: Any = None

    def add(self, rows: Any) -> None:
        """Add the rows of a table."""
        import pyarrow as pa
        import pyarrow.compute as pc

        bins = pc.divide(rows["t_exit"], self._width)
        bins = pc.min_element_wise(pc.max_element_wise(bins, pa.scalar(0, pa.int64())), pa.scalar(self._last))
        binned = with_handling(rows).append_column("bin", bins).select([*self._by, "handling"])
        part = grouped(binned, Grouping(tuple(binned.column_names), self._by, MEASURES))
        whole = part if self._total is None else pa.concat_tables([self._total, part])
        self._total = regroup(whole, self._by, MEASURES)
        self._join(4 * self._cells)  # bounds memory while reading, and keeps the result as fine as possible

    def binned(self) -> Binned | None:
        """The density of the rows added; None without rows."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if self._total is None:
            return None
        self._join(self._cells)
        table = self._total.sort_by([(key, "ascending") for key in self._by])
        table = table.append_column("t", pc.multiply(table["bin"], self._width))
        schema = density_schema([(key, table[key].type) for key in self._keys])
        columns = [table[name].combine_chunks() for name in schema.names]
        return Binned(tuple(self._keys), self._width, pa.Table.from_arrays(columns, schema=schema))

    def _join(self, cells: int) -> None:
        """Join bins in pairs until at most that many cells are left (or one bin)."""
        import pyarrow.compute as pc

        while self._total.num_rows > cells and self._last > 0:
            self._width *= 2
            self._last //= 2
            at = self._total.column_names.index("bin")
            halved = self._total.set_column(at, "bin", pc.divide(self._total["bin"], 2))
            self._total = regroup(halved, self._by, MEASURES)


def density(
    tables: Iterable[Any], span: int, keys: Sequence[str] = ("device", "reason"), bins: int = BINS
) -> Binned | None:
    """The density of tables from :func:`tracer.analysis.chunks.chunks`."""
    made = Density(span, keys, bins=bins)
    for table in tables:
        made.add(table)
    return made.binned()
