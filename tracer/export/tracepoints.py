"""Tracepoints for timeline formats: what each vCPU did in KVM_RUN, with the events."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from tracer.analysis.account import Span, account, divided
from tracer.analysis.tracepoint_details import DETAILS
from tracer.analysis.tracepoint_spans import ENTRY, EXIT, START, USERSPACE, spans
from tracer.export.rows import PAUSED
from tracer.format.rowfile import dicts
from tracer.read.reader import Trace

GUEST, WAITING = "guest", "waiting"
OWN = ("reason", "rip", "info1", "info2", "a", "b")  # an event's own numbers


class Slice(NamedTuple):
    """A time of a vCPU in the guest, paused, or in KVM for an exit of the guest, which gives the name."""

    vcpu: int
    name: str
    start: int
    stop: int
    facts: dict[str, int | str]


class Moment(NamedTuple):
    """An event of a vCPU's thread."""

    vcpu: int
    name: str
    t: int
    facts: dict[str, int | str]


def slices(trace: Trace) -> Iterator[Slice]:
    """Each vCPU from its first KVM_RUN to its stop, ordered by time per vCPU. Empty without tracepoints."""
    if trace.tracepoints is None:
        return
    times = account(trace)
    entered: dict[int, int] = {}
    for piece in spans(trace, times):
        for row in piece.to_pylist():
            vcpu, t, stop = row["vcpu"], row["t"], row["t_entry"]
            pauses = times.vcpus[vcpu].pauses if vcpu in times.vcpus else ()
            if entered.get(vcpu, t) < t:
                yield from _divided(Slice(vcpu, GUEST, entered[vcpu], t, {}), pauses)
            facts = {} if row["handled"] == START else {name: row[name] for name in ("rip", "handled", "rows")}
            name = WAITING if row["handled"] == START else row["exit"]
            yield from _divided(Slice(vcpu, name, t, max(stop, t), facts), pauses)
            entered[vcpu] = stop
    for vcpu, t in entered.items():
        life = times.vcpus.get(vcpu)
        if life is not None and t < life.stop:
            yield from _divided(Slice(vcpu, GUEST, t, life.stop, {}), life.pauses)


def _divided(whole: Slice, pauses: Sequence[Span]) -> Iterator[Slice]:
    """A slice without the pauses in it, and those."""
    parts = list(divided(whole.start, whole.stop, pauses))
    if not any(paused for *_, paused in parts):
        yield whole
        return
    for start, stop, paused in parts:
        part = whole._replace(start=start, stop=stop)
        yield part._replace(name=PAUSED, facts={}) if paused else part


def moments(trace: Trace) -> Iterator[Moment]:
    """The events that do not end a slice, ordered by time."""
    for batch in trace.tracepoints.batches() if trace.tracepoints is not None else ():
        for row in dicts(batch):
            if row["event"] not in (ENTRY, EXIT, USERSPACE):
                yield Moment(row["vcpu"], _told(row), row["t"], {name: row[name] for name in OWN if row[name]})


def _told(row: dict[str, Any]) -> str:
    """The event's name, the access, and what it was about: ``kvm_msr write IA32_TSC_DEADLINE``."""
    event: str = row["event"]
    detail = DETAILS.get(event)
    if detail is None:
        return event
    first, *rest = (row[column] for column in detail.columns)
    what, access = detail.told(first & ~detail.mask, rest[0] if rest else 0)
    return " ".join(part for part in (event, access, what) if part)
