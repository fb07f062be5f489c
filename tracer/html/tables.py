"""Result tables as the cells of HTML tables."""

from collections.abc import Callable
from typing import Any

from attrs import frozen

from tracer.output import cell

TOP = 25  # rows shown of a table

# A guest address to the name that stands there, None where it has none.
Symbols = Callable[[int], str | None]

# Column to its unit, heading and meaning.
COLUMNS = {
    "reason": ("", "reason", "KVM exit reason"),
    "device": ("", "device", "the device that claims the address, - where none does"),
    "addr": ("address", "address", "port, guest-physical address or MSR"),
    "access": ("", "access", "what the guest does, and the bytes of one item"),
    "rip": ("address", "RIP", "where in the guest"),
    "symbol": ("", "symbol", "what stands there"),
    "exits": ("", "exits", "exits to the VMM"),
    "share": ("share", "of all", "share of all exits"),
    "bytes": ("", "bytes", "bytes moved"),
    "handler_ns": ("ns", "handling", "time from KVM_RUN's return to its next call, in all"),
    "mean_ns": ("ns", "mean", "handling of one exit, on average"),
    "longest_ns": ("ns", "longest", "the longest handling of one exit"),
}


@frozen
class Column:
    """A heading: ``number`` columns are aligned to the right."""

    head: str
    doc: str
    number: bool


@frozen
class Cells:
    """A table of texts; ``more`` rows are not shown."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    more: int


def described(table: Any, total: int, symbols: Symbols | None = None) -> Cells | None:
    """The first rows of a tally's table (see :data:`tracer.analysis.tally.EXITS`) as cells, each with its share of
    ``total`` exits and mean handling; those of a table of RIPs with what ``symbols`` says. None of None."""
    if table is None:
        return None
    rows = [_row(row, total) for row in table.slice(0, TOP).to_pylist()]
    if symbols is not None:
        names = [symbols(row["rip"]) for row in rows]
        if any(names):
            rows = [{"rip": row["rip"], "symbol": name} | row for row, name in zip(rows, names, strict=True)]
    heads = [COLUMNS[name] for name in rows[0]] if rows else []
    columns = tuple(
        Column(head, doc, isinstance(value, int | float))
        for (_, head, doc), value in zip(heads, rows[0].values() if rows else (), strict=True)
    )
    texts = tuple(tuple(cell(value, COLUMNS[name][0]) for name, value in row.items()) for row in rows)
    return Cells(columns, texts, max(table.num_rows - TOP, 0))


def _row(row: dict[str, Any], total: int) -> dict[str, Any]:
    """The columns of one row, in the order in which they are shown."""
    exits, handler = row["exits"], row["handler_ns"]
    made = {
        "rip": row.get("rip"),
        "device": row.get("device"),
        "reason": row.get("reason"),
        "addr": row.get("addr"),
        "access": f"{row['direction']} {row['size']}" if "direction" in row else None,
        "exits": exits,
        "share": exits / max(total, 1),
        "bytes": row.get("bytes"),
        "handler_ns": handler,
        "mean_ns": handler / exits,
        "longest_ns": row["longest_ns"],
    }
    return {name: value for name, value in made.items() if value is not None}
