"""KVM's own counters (KVM_GET_STATS_FD) beside the recorded rows, and what their differences mean."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

# Their sum is the time that a vCPU was halted inside KVM_RUN (struct kvm_vcpu_stat_generic, linux/kvm_types.h).
HALTED = ("halt_wait_ns", "halt_poll_success_ns", "halt_poll_fail_ns")


class Counters(NamedTuple):
    """KVM's counters of one vCPU over the run, end minus start, without those that did not change; ``halted_ns`` by the
    trace's clock, None if the host does not count it."""

    vcpu: int
    kvm: dict[str, int]
    halted_ns: int | None


class Instruction(NamedTuple):
    """A kind of exit that KVM counts by the instruction: its reason, its counter, and why the two may differ."""

    reason: str
    counter: str
    name: str
    more: str  # why KVM counted more exits than vmrun saw
    fewer: str  # and why fewer


INSTRUCTIONS = (
    Instruction(
        "io",
        "io_exits",
        "port",
        "io_exits also counts exits that KVM answered itself (PIC, PIT, ...)",
        "a string instruction (ins, outs) counts once and can reach vmrun many times",
    ),
    Instruction(
        "mmio",
        "mmio_exits",
        "MMIO",
        "mmio_exits can also count exits that KVM answered itself",
        "mmio_exits counts instructions, and a large access reaches vmrun more than once",
    ),
)


def counters(closing: Mapping[str, Any]) -> tuple[Counters, ...]:
    """The counters of each vCPU from a trace's closing summary; empty if the host did not provide them."""
    stats = closing.get("stats")
    start, end = (stats.get(key) for key in ("start", "end")) if isinstance(stats, dict) else (None, None)
    if not isinstance(start, list) or not isinstance(end, list):
        return ()
    found = []
    by_trace = _scale(closing.get("clocks"))
    for vcpu, (before, after) in enumerate(zip(start, end, strict=False)):
        if not isinstance(before, dict) or not isinstance(after, dict):
            continue
        moved = {
            name: value - before.get(name, 0)
            for name, value in after.items()
            if isinstance(value, int) and isinstance(before.get(name, 0), int)
        }
        halted = by_trace(sum(moved[name] for name in HALTED if name in moved)) if HALTED[0] in moved else None
        found.append(Counters(vcpu, {name: value for name, value in sorted(moved.items()) if value}, halted))
    return tuple(found)


def _scale(clocks: object) -> Callable[[int], int]:
    """The factor from KVM's times to the trace's: KVM uses CLOCK_MONOTONIC, whose rate NTP steers, the trace the TSC at
    its nominal rate. The summary has the length of the run by both."""
    match clocks:
        case {"trace_ns": int(ours), "monotonic_ns": int(theirs)} if ours > 0 and theirs > 0:
            return lambda ns: ns * ours // theirs
    return lambda ns: ns


def reconcile(rows: Mapping[str, int], closing: Mapping[str, Any]) -> tuple[str, ...]:
    """Sentences on how KVM's counters and the run's own counts agree with the rows, by reason."""
    counted = counters(closing)
    notes = _recorded(sum(rows.values()), closing)
    if not counted:
        notes.append("KVM's own counters were not recorded, so the number of exits that KVM handled itself is unknown.")
        return tuple(notes)
    exits, dropped = sum(rows.values()), sum(numbers(closing, "dropped"))
    if seen := _total(counted, "exits"):
        unseen = max(seen - exits - dropped, 0)
        came = f"{exits:,} reached vmrun and are rows" + (f", {dropped:,} were dropped" if dropped else "")
        notes.append(
            f"KVM counted {seen:,} exits of the guest: {came}, {unseen:,} ({unseen / seen:.1%}) were handled by KVM."
        )
    if dropped:  # their kind is not known
        return tuple(notes)
    for kind in INSTRUCTIONS:
        notes += _agreement(kind, _total(counted, kind.counter), rows.get(kind.reason, 0))
    return tuple(notes)


def numbers(closing: Mapping[str, Any], key: str) -> list[int]:
    """A count per vCPU from the closing summary (rows, dropped, interrupted); empty if it has none."""
    value = closing.get(key)
    return [item for item in value if isinstance(item, int)] if isinstance(value, list) else []


def _recorded(rows: int, closing: Mapping[str, Any]) -> list[str]:
    notes = []
    if closing.get("complete", True) is not True:
        notes.append("The trace is not complete: the run continues, was killed, or was recovered.")
    recovered = closing.get("recovered")
    problems = recovered.get("problems") if isinstance(recovered, dict) else None
    if isinstance(problems, list):
        notes += [f"Recovered with loss: {problem}." for problem in problems]
    recorded = numbers(closing, "rows")
    if recorded and sum(recorded) != rows:
        notes.append(f"The run recorded {sum(recorded):,} exits, but the file has {rows:,} rows.")
    if dropped := sum(numbers(closing, "dropped")):
        notes.append(f"{dropped:,} exits were dropped because a ring was full; their time counts as KVM_RUN.")
    if interrupted := sum(numbers(closing, "interrupted")):
        what = "call of KVM_RUN was" if interrupted == 1 else "calls of KVM_RUN were"
        notes.append(f"{interrupted:,} {what} interrupted by a signal; this is not an exit.")
    return notes


def _agreement(kind: Instruction, counted: int, rows: int) -> list[str]:
    if rows and not counted:
        return [f"This host's KVM does not count {kind.name} exits ({kind.counter} is 0); {rows:,} reached vmrun."]
    what = f"KVM counted {counted:,} {kind.name} exits ({kind.counter}) and {rows:,} reached vmrun"
    if counted > rows:
        return [f"{what}: {counted - rows:,} more, because {kind.more}."]
    if counted < rows:
        return [f"{what}: {kind.fewer}."]
    return [f"{what}: KVM answered none itself."] if counted else []


def _total(counted: Sequence[Counters], name: str) -> int:
    return sum(counter.kvm.get(name, 0) for counter in counted)
