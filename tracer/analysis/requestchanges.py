"""How the requests of two traces differ, by device and kind."""

from typing import Any

from tracer.analysis.requests import by_kind, loaded
from tracer.analysis.tables import schema, table
from tracer.read.reader import Trace
from vmspec.trace.requests import REQUESTS

_COLUMNS = (
    ("device", "utf8", "", "the device"),
    ("kind", "utf8", "", "kind of request"),
    ("requests_a", "int64", "", "number of requests in A; null: A has no requests recorded"),
    ("requests_b", "int64", "", "number of requests in B; null: B has no requests recorded"),
    ("failed_a", "int64", "", "number of those in A whose status is not ok"),
    ("failed_b", "int64", "", "number of those in B whose status is not ok"),
    ("bytes_a", "int64", "bytes", "sum of their length in A"),
    ("bytes_b", "int64", "bytes", "sum of their length in B"),
    ("median_a_ns", "int64", "ns", "median latency in A; null: there are none"),
    ("median_b_ns", "int64", "ns", "median latency in B; null: there are none"),
    ("p99_a_ns", "int64", "ns", "99th percentile of the latency in A"),
    ("p99_b_ns", "int64", "ns", "99th percentile of the latency in B"),
    ("busy_a_ns", "int64", "ns", "time in A in which at least one was in flight"),
    ("busy_b_ns", "int64", "ns", "time in B in which at least one was in flight"),
)
_SUMS, _TIMES = ("requests", "failed", "bytes"), ("median_ns", "p99_ns", "busy_ns")


def changes_schema() -> Any:
    """The schema of :func:`changes`."""
    return schema(_COLUMNS)


def changes(a: Trace, b: Trace) -> Any:
    """The requests of both, by device and kind: a ``pyarrow.Table``; empty if neither has requests recorded."""
    sides = [_side(trace) for trace in (a, b)]
    rows = []
    for device, kind in sorted({key for side in sides if side is not None for key in side}):
        cells: list[int | None] = []
        for name in (*_SUMS, *_TIMES):
            for side in sides:
                row = None if side is None else side.get((device, kind))
                none = 0 if side is not None and name in _SUMS else None
                cells.append(none if row is None else row[name])
        rows.append((device, kind, *cells))
    return table(_COLUMNS, rows)


def _side(trace: Trace) -> dict[tuple[str, str], dict[str, Any]] | None:
    """The rows of one trace by device and kind; None: it has no requests recorded."""
    if REQUESTS.name not in trace.tables:
        return None
    return {(row["device"], row["kind"]): row for row in by_kind(loaded(trace)).to_pylist()}
