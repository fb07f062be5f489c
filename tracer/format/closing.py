"""The closing summaries of tables, for readers.

docs/trace-format.md documents the values. The table's definition has their kinds. A value that is not of its kind is
dropped, so that no analysis has to check: a file may come from another version, or from anybody.
"""

from collections.abc import Callable, Mapping
from typing import Any

from vmspec.trace.table import SummaryKind

INTEGER_END = 1 << 63  # the values of a column
KILLED = "killed"  # the end, in ``result``, of a run whose VMM was killed: its recorder closed the trace
TIME_END = 1 << 62  # ns; differences and sums of two fit in 64 bits

Kind = Callable[[Any], Any]  # the value, or ValueError


def _wanted(right: bool, value: Any) -> Any:
    if not right:
        raise ValueError
    return value


def _flag(value: Any) -> Any:
    return _wanted(isinstance(value, bool), value)


def _integer(value: Any) -> Any:
    return _wanted(type(value) is int and -INTEGER_END <= value < INTEGER_END, value)


def _count(value: Any) -> Any:
    return _wanted(_integer(value) >= 0, value)


def _time(value: Any) -> Any:
    return _wanted(abs(_integer(value)) < TIME_END, value)


def _time_or_none(value: Any) -> Any:
    return None if value is None else _time(value)


def _span(value: Any) -> Any:
    return _wanted(isinstance(value, list) and len(value) == 2 and _time(value[0]) <= _time(value[1]), value)


def _scalar(value: Any) -> Any:
    return value if isinstance(value, str | bool | None) else _integer(value)


def _list(kind: Kind) -> Kind:
    """A list with all values of a kind."""
    return lambda value: [kind(one) for one in _wanted(isinstance(value, list), value)]


def _each(kind: Kind) -> Kind:
    """A table with all values of a kind."""
    return lambda value: {key: kind(one) for key, one in _wanted(isinstance(value, dict), value).items()}


KINDS: Mapping[SummaryKind, Kind] = {
    "flag": _flag,
    "count": _count,
    "code": _count,
    "time": _time,
    "counts": _list(_count),
    "times": _list(_time_or_none),
    "spans": _list(_list(_span)),
    "scalars": _each(_scalar),
    "integers": _each(_integer),
    "counters": _each(_list(_each(_integer))),
    "totals": _each(_each(_count)),
}


def said(summary: Mapping[str, Any], kinds: Mapping[str, SummaryKind]) -> dict[str, Any]:
    """The summary without values of a wrong kind; keys without a kind stay."""
    kept = {}
    for key, value in summary.items():
        try:
            kept[key] = KINDS[kinds[key]](value) if key in kinds else value
        except ValueError:
            continue
    return kept
