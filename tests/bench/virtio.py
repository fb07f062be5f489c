"""A disk's requests on this host's KVM: a flat guest reads 4 KiB again and again, one request at a time, and eight."""

import struct
import sys
import tempfile
from pathlib import Path

import tracer
from tests.bench.command import cost
from tests.bench.figure import Figure
from tests.runner.devices.virtio.test_guests import HERE, HLT, describe, put, store
from vmspec.registers import virtio as R

REQUESTS, RUNS = 100_000, 3
SPEC = """\
[vm]
name = "requests"
memory = "1MiB"
[boot]
mode = "protected"
code = "{code}"
[[device]]
kind = "virtio-blk"
path = "disk.img"
mode = "{mode}"
[trace]
path = "guest.arrow"
"""
QUEUE, HEADER, STATUS, DATA = 0x10000, 0x30000, 0x30100, 0x20000
AVAILABLE, USED = QUEUE + 16 * 32, QUEUE + 0x400
SETUP = (
    *((R.STATUS, value) for value in (0, 1, 3)),
    (R.DRIVER_FEATURES_SEL, 1), (R.DRIVER_FEATURES, 1), (R.STATUS, 11),
    (R.QUEUE_NUM, 32), (R.QUEUE_DESC, QUEUE), (R.QUEUE_DRIVER, AVAILABLE), (R.QUEUE_DEVICE, USED),
    (R.QUEUE_READY, 1), (R.STATUS, 15),
)  # fmt: skip


def guest(rounds: int, depth: int) -> bytes:
    """Reads the first 4 KiB ``rounds`` times ``depth`` times: it offers ``depth`` chains, tells, awaits all."""
    code = b"".join(store(HERE + offset, value) for offset, value in SETUP) + put(HEADER, bytes(16))
    for chain in range(depth):
        first = 3 * chain
        code += describe(first, HEADER, 16, 1, first + 1) + describe(first + 1, DATA + 4096 * chain, 4096, 3, first + 2)
        code += describe(first + 2, STATUS + chain, 1, 2)
    for entry in range(0, 32, 2):
        heads = (entry % depth) * 3 | ((entry + 1) % depth) * 3 << 16
        code += store(AVAILABLE + 4 + 2 * entry, heads)
    code += store(AVAILABLE, 1)  # no interrupts
    code += b"\xb9" + struct.pack("<I", rounds)  # mov ecx, rounds
    loop = b"\x66\x81\x05" + struct.pack("<IH", AVAILABLE + 2, depth)  # add word [idx], depth
    loop += store(HERE + R.QUEUE_NOTIFY, 0)
    loop += b"\x66\xa1" + struct.pack("<I", AVAILABLE + 2)  # mov ax, [idx]
    loop += b"\x66\x3b\x05" + struct.pack("<I", USED + 2) + b"\x75\xf7"  # cmp ax, [used idx]; jne
    loop += b"\x49"  # dec ecx
    return code + loop + b"\x0f\x85" + struct.pack("<i", -len(loop) - 6) + HLT


def measure() -> list[Figure]:
    """Requests a second, and the CPU of each, that of the vCPU which waits for it too."""
    figures = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "disk.img").write_bytes(bytes(1 << 20))
        for mode in ("rw", "overlay"):
            for depth in (1, 8):
                what = f"disk, {mode}, 4 KiB reads at depth {depth}"
                seconds, cpu = best(folder, depth, mode)
                figures.append(Figure(what, REQUESTS / seconds, "1/s"))
                figures.append(Figure(f"{what}: CPU", cpu / REQUESTS * 1e6, "us"))
    return figures


def best(folder: Path, depth: int, mode: str) -> tuple[float, float]:
    """Seconds from the first request to the last, by the trace, and the CPU of the process without its start; the least
    of some runs."""
    costs, seconds = {}, []
    for rounds in (1, REQUESTS // depth):
        spec = folder / "guest.toml"
        spec.write_text(SPEC.format(code=guest(rounds, depth).hex(), mode=mode))
        costs[rounds] = []
        for _ in range(RUNS):
            costs[rounds].append(cost([sys.executable, "-m", "runner.cli", str(spec)]).cpu)
            table = tracer.load(folder / "guest.arrow").tables["requests"].table
            assert {*table["status"].to_pylist()} == {"ok"}
            seconds.append((table["t_done"][-1].as_py() - table["t_available"][0].as_py()) / 1e9)
        assert table.num_rows == rounds * depth
    start, whole = (min(each) for each in costs.values())
    return min(seconds[RUNS:]), whole - start
