"""The rows of a trace for formats written row by row: tuples rather than dicts, with names for codes."""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from tracer.analysis.account import Life, account, divided
from tracer.decode.decoder import named
from tracer.decode.regions import Regions
from tracer.format.rowfile import tuples
from tracer.format.schema import flag_names
from tracer.read.reader import Trace
from vmspec.trace.record import NO_DEVICE

KVM_RUN, PAUSED, UNFINISHED = "KVM_RUN", "paused", "an exit that was not answered"


class Exit(NamedTuple):
    """A row; the fields are columns of the trace, in its order (``items`` is ``count``, which tuples have)."""

    seq: int
    vcpu: int
    t_exit: int
    t_entry: int
    reason: str
    rip: int
    addr: int
    size: int
    items: int
    direction: str
    data: int
    payload: bytes
    device: str
    region: int
    flags: int


class Stay(NamedTuple):
    """A time of a vCPU without a row: in KVM_RUN, paused, or handling an exit until the run's end."""

    vcpu: int
    name: str
    start: int
    stop: int


def exits(trace: Trace) -> Iterator[Exit]:
    """All rows, in the trace's order."""
    for batch in trace.batches(["count" if name == "items" else name for name in Exit._fields]):
        yield from map(Exit._make, tuples(batch))


def stays(trace: Trace) -> Iterator[Exit | Stay]:
    """All rows, each after its vCPU's stays in KVM_RUN and in pauses before it; then each vCPU's stays until its stop.
    Together they are the account of time, without the time before the first KVM_RUN and after the stop."""
    lives = account(trace).vcpus
    entered = {vcpu: life.start for vcpu, life in lives.items()}
    for row in exits(trace):
        yield from _between(row.vcpu, entered.get(row.vcpu, row.t_exit), row.t_exit, lives.get(row.vcpu))
        entered[row.vcpu] = row.t_entry
        yield row
    for vcpu, life in lives.items():
        left = life.stop if life.open is None else life.open
        yield from _between(vcpu, entered[vcpu], max(left, entered[vcpu]), life)
        if life.open is not None:
            yield Stay(vcpu, UNFINISHED, left, life.stop)


def _between(vcpu: int, entered: int, left: int, life: Life | None) -> Iterator[Stay]:
    """A stay in KVM_RUN, divided where the vCPU was paused."""
    if life is None or not life.pauses:
        yield Stay(vcpu, KVM_RUN, entered, left)
        return
    for start, stop, paused in divided(entered, left, life.pauses):
        yield Stay(vcpu, PAUSED if paused else KVM_RUN, start, stop)


@lru_cache(1 << 12)
def title(reason: str, device: str, direction: str) -> str:
    """The title of an exit: ``io serial0 write``, ``hlt``."""
    return " ".join(part for part in (reason, device, direction) if part not in (NO_DEVICE, "none"))


class Targets:
    """What exits access, as ``vmtrace events`` names it: a register, a place in a region of the device, an address."""

    def __init__(self, trace: Trace) -> None:
        self._regions = Regions(trace.metadata)
        self._known = lru_cache(1 << 12)(self._named)

    def of(self, row: Exit) -> str:
        """The target of an exit: ``COM1 THR``, ``card0 bar0+0x10``; "" if it accesses nothing."""
        return self._known(row.reason, row.addr, row.size, row.direction, row.device, row.region)

    def _named(self, reason: str, addr: int, size: int, direction: str, device: str, region: int) -> str:
        return named(reason, addr, size, direction, device, self._regions.place(device, region, addr))


@lru_cache(1 << 12)
def flag_text(flags: int) -> str:
    """The names of the bits that are set: ``PYTHON|RIP``."""
    return "|".join(flag_names(flags))
