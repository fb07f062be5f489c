"""KVM's own counters (KVM_GET_STATS_FD) beside the recorded rows, and what their differences mean."""

from collections.abc import Mapping
from typing import Any

from attrs import frozen

# Together the time a vCPU was halted inside KVM_RUN (struct kvm_vcpu_stat_generic, linux/kvm_types.h).
HALTED = ("halt_wait_ns", "halt_poll_success_ns", "halt_poll_fail_ns")


@frozen
class Counters:
    """KVM's counters of one vCPU over the run, end less start, without those that did not move; ``halted_ns`` None
    where the host does not count it."""

    vcpu: int
    kvm: dict[str, int]
    halted_ns: int | None


def reconcile(table: Any, closing: Mapping[str, Any]) -> tuple[tuple[Counters, ...], tuple[str, ...]]:
    """The counters of each vCPU, and sentences on how they and the run's own counts agree with the rows."""
    counters = _counters(closing)
    notes = [*_recorded(table, closing)]
    if not counters:
        notes.append("KVM's own counters were not recorded, so what the kernel handled unseen is not known.")
        return counters, tuple(notes)
    exits = _count(table, None)
    seen = _total(counters, "exits")
    if seen:
        unseen = max(seen - exits, 0)
        notes.append(
            f"KVM counted {seen:,} exits of the guest; {exits:,} came to vmrun and are rows, {unseen:,} "
            f"({unseen / seen:.1%}) the kernel handled unseen."
        )
    notes += _port_io(_total(counters, "io_exits"), _count(table, "io"))
    notes += _mmio(_total(counters, "mmio_exits"), _count(table, "mmio"))
    return counters, tuple(notes)


def _recorded(table: Any, closing: Mapping[str, Any]) -> list[str]:
    notes = []
    if closing.get("complete", True) is not True:
        notes.append("The trace is not complete: the run goes on, was killed, or was recovered.")
    recovered = closing.get("recovered")
    problems = recovered.get("problems") if isinstance(recovered, dict) else None
    if isinstance(problems, list):
        notes += [f"Recovered with loss: {problem}." for problem in problems]
    rows = _numbers(closing.get("rows"))
    if rows and sum(rows) != table.num_rows:
        notes.append(f"The run recorded {sum(rows):,} exits, but the file has {table.num_rows:,} rows.")
    if dropped := sum(_numbers(closing.get("dropped"))):
        notes.append(f"{dropped:,} exits were dropped because a ring was full; their time counts as time in the guest.")
    if interrupted := sum(_numbers(closing.get("interrupted"))):
        notes.append(f"{interrupted:,} returns of KVM_RUN were interrupted by a signal; they are no rows.")
    return notes


def _port_io(counted: int, rows: int) -> list[str]:
    if rows and not counted:
        return [f"This host's KVM does not count port exits (io_exits is 0); {rows:,} came to vmrun."]
    what = f"KVM counted {counted:,} port exits (io_exits) and {rows:,} came to vmrun"
    if counted > rows:
        return [f"{what}: io_exits counts also what KVM answered itself (PIC, PIT, ...), {counted - rows:,} exits."]
    if counted < rows:
        return [f"{what}: a string instruction (ins, outs) counts once and can come to vmrun many times."]
    return [f"{what}: KVM answered none itself."] if counted else []


def _mmio(counted: int, rows: int) -> list[str]:
    if rows and not counted:
        return [f"This host's KVM does not count MMIO exits (mmio_exits is 0); {rows:,} came to vmrun."]
    what = f"KVM counted {counted:,} MMIO exits (mmio_exits) and {rows:,} came to vmrun"
    if counted > rows:
        return [f"{what}: mmio_exits can count also what KVM answered itself, {counted - rows:,} exits."]
    if counted < rows:
        return [f"{what}: mmio_exits counts instructions, and one that moves much comes to vmrun more than once."]
    return [f"{what}: KVM answered none itself."] if counted else []


def _counters(closing: Mapping[str, Any]) -> tuple[Counters, ...]:
    stats = closing.get("stats")
    start, end = (stats.get(key) for key in ("start", "end")) if isinstance(stats, dict) else (None, None)
    if not isinstance(start, list) or not isinstance(end, list):
        return ()
    counters = []
    for vcpu, (before, after) in enumerate(zip(start, end, strict=False)):
        if not isinstance(before, dict) or not isinstance(after, dict):
            continue
        moved = {
            name: value - before.get(name, 0)
            for name, value in after.items()
            if isinstance(value, int) and isinstance(before.get(name, 0), int)
        }
        halted = sum(moved[name] for name in HALTED if name in moved) if HALTED[0] in moved else None
        counters.append(Counters(vcpu, {name: value for name, value in sorted(moved.items()) if value}, halted))
    return tuple(counters)


def _total(counters: tuple[Counters, ...], name: str) -> int:
    return sum(counter.kvm.get(name, 0) for counter in counters)


def _count(table: Any, reason: str | None) -> int:
    import pyarrow.compute as pc

    return table.num_rows if reason is None else pc.sum(pc.equal(table["reason"], reason)).as_py() or 0


def _numbers(value: object) -> list[int]:
    return [item for item in value if isinstance(item, int)] if isinstance(value, list) else []
