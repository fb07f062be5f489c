"""Grouping over a trace that comes in pieces, in bounded memory."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

GROUPS = 1 << 18  # kept at most: addresses and RIPs can be as many as there are rows

# What most analyses ask of a group: name to the column it is made from, and how.
EXITS = {
    "exits": ("t_exit", "count"),
    "bytes": ("bytes", "sum"),
    "handler_ns": ("handler_ns", "sum"),
    "longest_ns": ("handler_ns", "max"),
}


class Tally:
    """Counts, sums and extremes by key columns, over tables added one after another.

    ``measures`` maps a result's column to the column it is made from and one of count, sum, min, max; one of them must
    be ``exits``. When there are more than ``limit`` groups (None: no limit), those of the fewest exits are forgotten;
    a group that comes back after that starts anew, so that ``exits`` of a group may be too low by at most ``missed``,
    which is 0 where nothing was forgotten.
    """

    def __init__(
        self, keys: Sequence[str], measures: Mapping[str, tuple[str, str]] = EXITS, limit: int | None = GROUPS
    ) -> None:
        self.keys = list(keys)
        self.measures = dict(measures)
        self.limit = limit
        self.missed = 0
        self._total: Any = None

    def add(self, rows: Any) -> None:
        """Add the rows of a table."""
        import pyarrow as pa

        grouped = rows.group_by(self.keys).aggregate(list(self.measures.values()))
        made = [f"{column}_{how}" for column, how in self.measures.values()]
        part = pa.table(
            {key: _plain(grouped[key]) for key in self.keys}
            | {name: grouped[source].cast(pa.int64()) for name, source in zip(self.measures, made, strict=True)}
        )
        self._total = part if self._total is None else self._merged(pa.concat_tables([self._total, part]), self.keys)
        if self.limit is not None and self._total.num_rows > self.limit:
            self._forget(self.limit // 2)

    def table(self, keys: Sequence[str] | None = None) -> Any:
        """The groups as a ``pyarrow.Table``: keys (dictionary columns as text), then measures as int64; most exits
        first, then by the keys. ``keys`` are those that count, default all. None where nothing was added."""
        if self._total is None:
            return None
        keys = self.keys if keys is None else list(keys)
        table = self._total if keys == self.keys else self._merged(self._total, keys)
        return table.sort_by([("exits", "descending"), *((key, "ascending") for key in keys)])

    @property
    def groups(self) -> int:
        """How many groups there are."""
        return 0 if self._total is None else int(self._total.num_rows)

    def recode(self, key: str, made: Callable[[Any], Any]) -> None:
        """Replace a key column by what ``made`` makes of it, and join the groups that are the same now."""
        if self._total is not None:
            column = self._total.column_names.index(key)
            self._total = self._merged(self._total.set_column(column, key, made(self._total[key])), self.keys)

    def _merged(self, table: Any, keys: Sequence[str]) -> Any:
        how = {name: "sum" if how == "count" else how for name, (_, how) in self.measures.items()}
        grouped = table.group_by(list(keys)).aggregate(list(how.items()))
        columns = [*keys, *(f"{name}_{how}" for name, how in how.items())]
        return grouped.select(columns).rename_columns([*keys, *how])

    def _forget(self, keep: int) -> None:
        order = self._total.sort_by([("exits", "descending")])
        self.missed += order["exits"][keep].as_py()
        self._total = order.slice(0, keep).combine_chunks()


def _plain(column: Any) -> Any:
    """Text instead of codes: the dictionaries of two tables may differ."""
    import pyarrow as pa

    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
