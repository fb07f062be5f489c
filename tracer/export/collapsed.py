"""Collapsed stacks, one line each: ``vCPU 0;serial0;io write 0x3f8 1234``. For flamegraph.pl, inferno, speedscope.

The format is that of Brendan Gregg's stackcollapse scripts: frames with semicolons between them, the outermost first,
then a space and a whole number.
"""

from collections import Counter
from typing import Any, BinaryIO

from tracer.reader import Trace
from tracer.schema import NO_DEVICE
from vmspec.printable import printable

KEYS = ("vcpu", "device", "reason", "direction", "addr")


def write(trace: Trace, out: BinaryIO, by_time: bool) -> None:
    """Write the stacks, weighted by exits, or by ns: of handling, and between exits as ``vCPU 0;KVM_RUN``."""
    import pyarrow as pa
    import pyarrow.compute as pc

    weights: Counter[str] = Counter()
    entered: dict[int, int] = {}
    for batch in trace.batches(["vcpu", "t_exit", "t_entry", "reason", "addr", "direction", "device"]):
        handling = pc.subtract(batch.column("t_entry"), batch.column("t_exit"))
        table = pa.table({**{key: batch.column(key) for key in KEYS}, "weight": handling})
        for row in table.group_by(list(KEYS)).aggregate([("weight", "sum" if by_time else "count")]).to_pylist():
            weights[_stack(*(row[key] for key in KEYS))] += row["weight_sum" if by_time else "weight_count"]
        if by_time:
            _guest(batch, weights, entered)
    for stack, weight in sorted(weights.items()):
        if weight > 0:
            out.write(f"{stack} {weight}\n".encode())


def _guest(batch: Any, weights: Counter[str], entered: dict[int, int]) -> None:
    """Add the time in KVM_RUN, from each vCPU's first exit on: all its time less the handling."""
    import pyarrow as pa

    table = pa.table({name: batch.column(name).cast(pa.int64()) for name in ("vcpu", "t_exit", "t_entry")})
    sums = table.group_by("vcpu").aggregate(
        [("t_exit", "min"), ("t_exit", "sum"), ("t_entry", "max"), ("t_entry", "sum")]
    )
    for row in sums.to_pylist():
        vcpu, last = row["vcpu"], row["t_entry_max"]
        handling = row["t_entry_sum"] - row["t_exit_sum"]
        weights[f"vCPU {vcpu};KVM_RUN"] += last - entered.get(vcpu, row["t_exit_min"]) - handling
        entered[vcpu] = last


def _stack(vcpu: int, device: str, reason: str, direction: str, addr: int) -> str:
    frames = [f"vCPU {vcpu}", *([device] if device != NO_DEVICE else [])]
    access = " ".join(part for part in (reason, direction) if part != "none")
    frames.append(f"{access} {addr:#x}" if direction != "none" else access)
    return ";".join(printable(frame).replace(";", ":") for frame in frames)
