"""Rates: what changed between two readings of a machine's counters."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from runner.control.errors import ControlError


class Row(NamedTuple):
    """A counter: its value now, and how fast it grew."""

    name: str
    total: int
    rate: float


def rates(before: Mapping[str, Any], after: Mapping[str, Any], group: str) -> list[Row]:
    """The counters of a group ("exits", "devices", "queues"), the fastest first, and those of one speed by their
    totals. Raises ControlError if a reading is not one."""
    try:
        seconds = after["seconds"] - before["seconds"]
        rows = [
            Row(str(name), int(total), (total - before[group].get(name, 0)) / seconds if seconds > 0 else 0.0)
            for name, total in after[group].items()
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ControlError("protocol", f"the machine sent counters that are none: {error!r}") from error
    return sorted(rows, key=lambda row: (-row.rate, -row.total, row.name))


def table(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """All groups as lines for people; of the queues those that were used."""
    reasons = rates(before, after, "exits")
    queues = [row for row in rates(before, after, "queues") if row.total]
    total = Row("all", sum(row.total for row in reasons), sum(row.rate for row in reasons))
    lines = [f"{'exits':<24}{'total':>16}{'per second':>16}"]
    lines += map(_line, (*reasons, total))
    for title, rows in (("by device", rates(before, after, "devices")), ("requests", queues)):
        if rows:
            lines += [title, *map(_line, rows)]
    dropped = after.get("dropped", 0)
    resident = after.get("resident", 0) / (1 << 20)
    lines.append(f"after {after['seconds']:,.1f} s: {resident:,.0f} MiB resident, {dropped:,} exits not recorded")
    return lines


def _line(row: Row) -> str:
    return f"  {row.name:<22}{row.total:>16,}{row.rate:>16,.0f}"
