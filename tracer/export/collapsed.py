"""Collapsed stacks, one line each: ``vCPU 0;serial0;io write 0x3f8 1234``. For flamegraph.pl, inferno, speedscope.

The format is that of Brendan Gregg's stackcollapse scripts: frames separated by semicolons, the outermost first, then a
space and a whole number. If tracepoints were recorded, the exits that KVM handled are stacks too: ``vCPU
0;KVM_RUN;kvm;npf 1234``.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any, BinaryIO

from tracer.analysis.account import Account, Life, account
from tracer.analysis.tracepoint_spans import CAME, START
from tracer.analysis.tracepoints import summed, time_by_vcpu
from tracer.export.rows import KVM_RUN, UNFINISHED
from tracer.read.reader import Trace
from vmspec.host.printable import printable
from vmspec.trace.record import NO_DEVICE

KEYS = ("vcpu", "device", "reason", "direction", "addr")


def write(trace: Trace, out: BinaryIO, by_time: bool) -> None:
    """Write the stacks, weighted by exits or by ns. In ns, those of a vCPU add up to the length of the run."""
    import pyarrow as pa
    import pyarrow.compute as pc

    weights: Counter[str] = Counter()
    for batch in trace.batches(["vcpu", "t_exit", "t_entry", "reason", "addr", "direction", "device"]):
        handling = pc.subtract(batch.column("t_entry"), batch.column("t_exit"))
        table = pa.table({**{key: batch.column(key) for key in KEYS}, "weight": handling})
        for row in table.group_by(list(KEYS)).aggregate([("weight", "sum" if by_time else "count")]).to_pylist():
            weights[_stack(*(row[key] for key in KEYS))] += row["weight_sum" if by_time else "weight_count"]
    times = account(trace) if by_time or trace.tracepoints is not None else Account(0, {})
    sums = None if trace.tracepoints is None else summed(trace, times)
    for stack, weight in (*_exits_in_kvm(sums, by_time), *(_times(times, sums) if by_time else ())):
        weights[stack] += weight
    for stack, weight in sorted(weights.items()):
        if weight > 0:
            out.write(f"{stack} {weight}\n".encode())


def _exits_in_kvm(sums: Any, by_time: bool) -> Iterator[tuple[str, int]]:
    """KVM's work for the guest, by the processor's exits: the exits that it handled alone, or the time of all without
    vmrun's."""
    for row in sums.to_pylist() if sums is not None else ():
        alone = row["handled"] != CAME
        frames = "halted" if row["exit"] == "hlt" and alone else f"kvm;{_frame(row['exit'])}"
        if row["handled"] != START and (alone or by_time):
            weight = row["total"] - row["vmm"] if by_time else row["exits"]
            yield f"vCPU {row['vcpu']};{KVM_RUN};{frames}", weight


def _times(times: Account, sums: Any) -> Iterator[tuple[str, int]]:
    """The account, without the handling of rows; KVM_RUN is divided as far as it is known."""
    for vcpu, life in times.vcpus.items():
        yield f"vCPU {vcpu};before the first KVM_RUN", life.start_ns
        yield f"vCPU {vcpu};paused", life.paused_ns
        yield f"vCPU {vcpu};stopped", life.stopped_ns
        if life.open is not None:
            yield f"vCPU {vcpu};{UNFINISHED}", life.stop - life.open
    divided = time_by_vcpu(sums, times).to_pylist() if sums is not None else []
    for row in divided:
        yield f"vCPU {row['vcpu']};{KVM_RUN};guest", row["guest_ns"]
        yield f"vCPU {row['vcpu']};{KVM_RUN};waiting", row["waiting_ns"]
    for vcpu, life in times.vcpus.items() if not divided else ():
        yield from _kvm_run(vcpu, life)


def _kvm_run(vcpu: int, life: Life) -> Iterator[tuple[str, int]]:
    halted = life.halted_ns or 0
    yield f"vCPU {vcpu};{KVM_RUN}", life.kvm_run_ns - halted
    yield f"vCPU {vcpu};{KVM_RUN};halted", halted


def _stack(vcpu: int, device: str, reason: str, direction: str, addr: int) -> str:
    frames = [f"vCPU {vcpu}", *([device] if device != NO_DEVICE else [])]
    access = " ".join(part for part in (reason, direction) if part != "none")
    frames.append(f"{access} {addr:#x}" if direction != "none" else access)
    return ";".join(map(_frame, frames))


def _frame(text: str) -> str:
    return printable(text).replace(";", ":")
