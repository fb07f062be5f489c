"""The contents of the report: the tables of the analyses, the timeline, and a pass for the density."""

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from tracer.analysis import exits
from tracer.analysis.account import account
from tracer.analysis.chunks import chunks
from tracer.analysis.density import Binned, Density
from tracer.analysis.requests import by_phases, summarised
from tracer.analysis.summary import summarise
from tracer.analysis.timeline import Timeline, slowest_first, timeline
from tracer.analysis.tracepoint_details import by_detail
from tracer.analysis.tracepoints import by_event, by_handling, by_reason, summed, time_by_vcpu
from tracer.html.consoletext import LINES, Text, console_text, readable
from vmspec.trace.requests import REQUESTS

WAITS = 12  # the longest of them are shown


@frozen
class Wait:
    """A time in which nothing was printed: ``start`` and ``length`` in ns, without the time ``paused`` in it, ``exits``
    in it, and the line that ended it; None: the end of the run."""

    start: int
    length: int
    paused: int
    exits: int
    handling: int
    line: str | None


@frozen
class Findings:
    """Everything that the page shows, for ``rows`` exits in ``end`` ns.

    ``tables`` are those of :func:`tracer.analysis.summary.summarise`, ``rips`` the exits by RIP, device and reason
    (:func:`tracer.analysis.exits.schema`). ``densities`` are by device and reason, and by vCPU if there are several.
    ``phases``, ``waits`` (longest first), ``pauses`` and ``console`` come from
    :func:`tracer.analysis.timeline.timeline`.
    ``tracepoints`` are tables of :mod:`tracer.analysis.tracepoints` by name, ``requests`` those of
    :mod:`tracer.analysis.requests`; empty if they were not recorded. ``notes`` are sentences on what the trace has and
    lacks.
    """

    rows: int
    end: int
    notes: tuple[str, ...]
    tables: Mapping[str, Any]
    rips: Any
    densities: tuple[Binned, ...]
    console: Text
    phases: Any
    waits: tuple[Wait, ...]
    pauses: Any
    tracepoints: Mapping[str, Any]
    requests: Mapping[str, Any]


def gather(trace: Any) -> Findings:
    """Analyse a trace in bounded memory, however many rows it has. Raises TraceError for a damaged one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    summary = summarise(trace)
    rips = exits.by(trace, "rip", "device", "reason")
    end = summary.duration_ns
    several = summary.tables["vcpu"].num_rows > 1
    densities = [Density(end, ["device", "reason"]), *([Density(end, ["vcpu"])] if several else [])]
    for table in chunks(trace, ["vcpu", "t_exit", "t_entry", "reason", "device"]):
        for density in densities:
            density.add(table)
    boot = timeline(trace, keep=LINES)
    return Findings(
        rows=summary.rows,
        end=end,
        notes=summary.notes,
        tables=summary.tables,
        rips=rips.filter(pc.not_equal(rips["rip"], pa.scalar(0, pa.uint64()))),  # 0: not known
        densities=tuple(made for density in densities if (made := density.binned()) is not None),
        console=console_text(boot),
        phases=boot.phases,
        waits=tuple(
            Wait(
                row["t_ns"] - row["gap_ns"] - row["paused_ns"],
                row["gap_ns"],
                row["paused_ns"],
                row["exits"],
                row["handling_ns"],
                None if row["line"] is None else readable(row["line"]),
            )
            for row in slowest_first(boot.lines).slice(0, WAITS).to_pylist()
            if row["gap_ns"] > 0
        ),
        pauses=boot.pauses,
        tracepoints=_tracepoints(trace),
        requests=_requests(trace, boot),
    )


def _requests(trace: Any, boot: Timeline) -> dict[str, Any]:
    """The tables of ``vmtrace io``, and the requests by phase, if there are any."""
    if REQUESTS.name not in trace.tables:
        return {}
    return {**summarised(trace), "phases": by_phases(trace, boot.phases, boot.device)}


def _tracepoints(trace: Any) -> dict[str, Any]:
    """The first tables of ``vmtrace tracepoints``, if there are any."""
    if trace.tracepoints is None:
        return {}
    times = account(trace)
    sums = summed(trace, times)
    tables = {"reasons": by_reason(by_handling(sums)), "time": time_by_vcpu(sums, times), "details": by_detail(trace)}
    return tables | {"events": by_event(trace)}
