"""Exits over time as a density: counts in time bins, small however long the trace is."""

from collections.abc import Iterable, Sequence
from typing import Any

from tracer.analysis.tally import Tally

BINS = 16384  # over the whole span: more than a screen has columns, so that there is something to zoom into
CELLS = 60_000  # bins with exits, of all groups: what a page can carry; bins are joined in twos until it holds

MEASURES = {"exits": ("t_exit", "count"), "handler_ns": ("handler_ns", "sum")}


def density_schema(keys: Sequence[tuple[str, Any]]) -> Any:
    """The schema of a density by ``keys`` (name and pyarrow type)."""
    import pyarrow as pa

    def field(name: str, unit: str, doc: str) -> Any:
        return pa.field(name, pa.int64(), nullable=False, metadata={"unit": unit, "doc": doc})

    return pa.schema(
        [
            field("bin", "", "number of the time bin; only bins with exits are there"),
            field("t", "ns", "start of the bin"),
            *(pa.field(name, type_, metadata={"unit": "", "doc": "what the exits are of"}) for name, type_ in keys),
            field("exits", "", "exits whose t_exit is in the bin"),
            field("handler_ns", "ns", "their handling time in all, also what of it is after the bin's end"),
        ]
    )


class Density:
    """Exits by time bin and ``keys``, over tables added one after another (columns t_exit, handler_ns and the keys).

    The bins divide the time from 0 to ``span`` (ns) evenly; what lies outside goes to the first or the last.
    ``width`` is a bin's length in ns, as :meth:`table` made it.
    """

    def __init__(self, span: int, keys: Sequence[str], *, bins: int = BINS, cells: int = CELLS) -> None:
        self.keys = list(keys)
        self.cells = cells
        self.width = max(-(-span // bins), 1)
        self._last = max(span - 1, 0) // self.width
        self._tally = Tally(["bin", *keys], MEASURES, limit=None)

    def add(self, rows: Any) -> None:
        """Add the rows of a table."""
        import pyarrow as pa
        import pyarrow.compute as pc

        bins = pc.divide(rows["t_exit"], self.width)
        bins = pc.min_element_wise(pc.max_element_wise(bins, pa.scalar(0, pa.int64())), pa.scalar(self._last))
        self._tally.add(rows.select(["t_exit", "handler_ns", *self.keys]).append_column("bin", bins))
        self._join(4 * self.cells)  # memory stays bounded while reading, and the result as fine as it may be

    def table(self) -> Any:
        """The density as a ``pyarrow.Table`` of :func:`density_schema`, by bin and keys; None where nothing was
        added."""
        import pyarrow as pa
        import pyarrow.compute as pc

        self._join(self.cells)
        table = self._tally.table()
        if table is None:
            return None
        table = table.sort_by([(key, "ascending") for key in ("bin", *self.keys)])
        table = table.append_column("t", pc.multiply(table["bin"], self.width))
        schema = density_schema([(key, table[key].type) for key in self.keys])
        return pa.Table.from_arrays([table[name].combine_chunks() for name in schema.names], schema=schema)

    def _join(self, cells: int) -> None:
        """Join bins in twos until no more than so many cells are left (or one bin)."""
        import pyarrow.compute as pc

        while self._tally.groups > cells and self._last > 0:
            self.width *= 2
            self._last //= 2
            self._tally.recode("bin", lambda bins: pc.divide(bins, 2))


def totals(density: Any, keys: Sequence[str]) -> Any:
    """The groups' totals over all bins (a density's ``exits`` and ``handler_ns``), most exits first."""
    grouped = density.group_by(list(keys)).aggregate([("exits", "sum"), ("handler_ns", "sum")])
    named = grouped.rename_columns([name.removesuffix("_sum") for name in grouped.column_names])
    return named.sort_by([("exits", "descending"), *((key, "ascending") for key in keys)])


def density(tables: Iterable[Any], span: int, keys: Sequence[str] = ("device", "reason"), bins: int = BINS) -> Any:
    """The density of tables as :func:`tracer.analysis.chunks.chunks` gives them."""
    made = Density(span, keys, bins=bins)
    for table in tables:
        made.add(table)
    return made.table()
