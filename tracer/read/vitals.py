"""What the vCPUs of a running machine do now, from its ring file and the host's scheduler.

A guest that makes no exits has nothing in its trace; here it shows that it is alive.
"""

from pathlib import Path

from attrs import frozen

from tracer.format.errors import TraceError
from tracer.read.ringfile import Ring, RingFile, columns
from vmspec.trace.record import RECORD

# What a vCPU does: its thread runs or sleeps in KVM_RUN; one of the two; vmrun handles an exit; the machine is paused;
# it has ended.
GUEST, HALTED, KVM_RUN, VMRUN, PAUSED, STOPPED = "guest", "halted", "KVM_RUN", "vmrun", "paused", "stopped"


@frozen
class Vital:
    """One vCPU: what it does ``now``, and its last exit in ns since time 0, None if it has made none."""

    vcpu: int
    now: str
    last_exit: int | None


@frozen
class Vitals:
    """All vCPUs, and the time until which the trace has all their exits, in ns since time 0: when the recorder last
    checked, once a second; 0 if some exits are still to be written."""

    vcpus: dict[int, Vital]
    seen_ns: int


def vitals(ring: Path) -> Vitals | None:
    """Read a ring file; None if there is none, or the guest has not begun."""
    try:
        with RingFile(ring) as rings:
            found = {one.vcpu: Vital(one.vcpu, _now(one), _last_exit(rings, one)) for one in rings.rings}
            waiting = any(one.control["head"] != one.control["tail"] for one in rings.rings)
            return Vitals(found, 0 if waiting else rings.nanoseconds(rings.tsc_seen) or 0)
    except (TraceError, OSError):
        return None  # it is being made or removed


def _now(ring: Ring) -> str:
    control = ring.control
    if control["stop"]:
        return STOPPED
    if control["paused"] >> 63:
        return PAUSED
    if control["open"] or not control["start"]:
        return VMRUN
    try:
        # proc(5): the state follows the name, which may have any characters, in parentheses.
        state = Path(f"/proc/{control['thread']}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except (OSError, IndexError):
        return KVM_RUN  # another host's, or in another PID namespace
    return {b"R": GUEST, b"S": HALTED}.get(state, KVM_RUN)


def _last_exit(rings: RingFile, ring: Ring) -> int | None:
    head = ring.control["head"]
    tsc = ring.control["open"]
    for _, raw in rings.records(ring, max(head - 1, 0), head) if not tsc else ():
        tsc = columns(RECORD, raw)["tsc_exit"][0]
    return rings.nanoseconds(tsc)
