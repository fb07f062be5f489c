"""A run of a campaign in a worker: made, measured by its trace, and the trace removed unless it is kept."""

import re
from pathlib import Path
from typing import Any, Literal, NamedTuple

from runner.workers.task import Outcome, Task, perform
from tracer.analysis.exits import Tally, grouping
from tracer.analysis.scan import scan
from tracer.analysis.timeline import LINUX, timeline
from tracer.format.errors import TraceError
from tracer.read.reader import load
from vmspec.trace.files import all_of

Keep = Literal["always", "failed", "never"]


class Measured(NamedTuple):
    """What a run gives its row. ``exits`` are groups by device and reason, ``phases`` those of a boot; without a trace
    the devices and times are None. ``size`` is what is kept on disk, in bytes."""

    outcome: Outcome
    exits: list[dict[str, Any]]
    phases: list[dict[str, Any]] | None = None
    median_ns: int | None = None
    p99_ns: int | None = None
    handling_ns: int | None = None
    size: int = 0


def measure(task: Task, keep: Keep) -> Measured:
    """Make the run and measure it."""
    outcome = perform(task)
    result = outcome.result
    if result is None or result.trace is None:
        counted = result.counters.items() if result is not None else ()
        found = [
            {"device": None, "reason": reason, "exits": count, "handling_ns": None, "median_ns": None, "p99_ns": None}
            for reason, count in counted
            if count and reason != "dropped"
        ]
        return Measured(_light(outcome), found)
    try:
        measured = _of_trace(outcome, result.trace, result.console)
    except TraceError as error:
        measured = Measured(outcome._replace(error=f"the trace cannot be measured: {error}"), [])
    kept = keep == "always" or (keep == "failed" and outcome.status != 0)
    size = 0
    for path in dict.fromkeys(all_of(result.trace)):
        if path.exists():
            if kept:
                size += path.stat().st_size
            else:
                path.unlink()
    trace = result.trace if kept else None
    outcome = measured.outcome._replace(result=result._replace(trace=trace))
    return measured._replace(outcome=_light(outcome), size=size)


def _of_trace(outcome: Outcome, path: Path, console: bytes) -> Measured:
    trace = load(path)
    keys = "device", "reason"
    tally = Tally.of(scan(trace, grouping(keys))[0])
    groups = tally.table(keys).select([*keys, "exits", "handling_ns", "median_ns", "p99_ns"]).to_pylist()
    total: dict[str, int] = next(iter(tally.table(()).to_pylist()), {})
    # Of a console without such a line, the only phase is the whole run.
    booted = any(re.search(pattern.encode(), console, re.MULTILINE) for pattern in LINUX.values())
    phases = timeline(trace).phases.select(["phase", "time_ns"]).to_pylist() if booted else []
    quantiles = total.get("median_ns"), total.get("p99_ns")
    return Measured(outcome, groups, phases, *quantiles, total.get("handling_ns"))


def _light(outcome: Outcome) -> Outcome:
    """The outcome without what no row has."""
    if outcome.result is None:
        return outcome
    return outcome._replace(result=outcome.result._replace(console=b"", ports={}))
