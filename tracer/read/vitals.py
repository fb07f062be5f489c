"""What the vCPUs of a running machine do now, by its ring file and the host's scheduler.

A guest that makes no exits, of which its trace says nothing, shows here that it is alive.
"""

from pathlib import Path

from attrs import frozen

from tracer.format.errors import TraceError
from tracer.read.ringfile import Ring, RingFile, columns

# What a vCPU does: its thread runs, or sleeps, in KVM_RUN; which of the two is not known; vmrun has it; it has ended.
GUEST, HALTED, KVM_RUN, VMRUN, STOPPED = "guest", "halted", "KVM_RUN", "vmrun", "stopped"


@frozen
class Vital:
    """One vCPU: what it does ``now``, and its last exit in ns since time 0, None where it has made none."""

    vcpu: int
    now: str
    last_exit: int | None


@frozen
class Vitals:
    """All vCPUs, and until when the trace has all their exits, in ns since time 0: when the recorder looked last, which
    it does once a second; 0 where some are still to be written, whose rows will tell."""

    vcpus: dict[int, Vital]
    seen_ns: int


def vitals(ring: Path) -> Vitals | None:
    """Look at a ring file; None where there is none, or the guest has not begun."""
    try:
        with RingFile(ring) as rings:
            found = {one.vcpu: Vital(one.vcpu, _now(one), _last_exit(rings, one)) for one in rings.rings}
            waiting = any(one.control["head"] != one.control["tail"] for one in rings.rings)
            return Vitals(found, 0 if waiting else rings.nanoseconds(rings.tsc_seen) or 0)
    except (TraceError, OSError):
        return None  # it is made, or taken away, at this moment


def _now(ring: Ring) -> str:
    control = ring.control
    if control["stop"]:
        return STOPPED
    if control["open"] or not control["start"]:
        return VMRUN
    try:
        # proc(5): the state is what follows the name, which may have any characters, in parentheses.
        state = Path(f"/proc/{control['thread']}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except (OSError, IndexError):
        return KVM_RUN  # another host's, or in another PID namespace
    return {b"R": GUEST, b"S": HALTED}.get(state, KVM_RUN)


def _last_exit(rings: RingFile, ring: Ring) -> int | None:
    head = ring.control["head"]
    tsc = ring.control["open"]
    for _, raw in rings.records(ring, max(head - 1, 0), head) if not tsc else ():
        tsc = columns(raw)["tsc_exit"][0]
    return rings.nanoseconds(tsc)
