"""A disk's requests on this host's KVM: a flat guest drives a queue, under vmrun and under QEMU's microvm.

It reads or writes 4 KiB at 32 places of the disk in turn, one request at a time, and 32. It takes no interrupts: the
vCPU polls until the requests are done. Rounds alternate, and the ratios are medians of what each round has.
"""

import random
import statistics
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from tests.bench.figure import Figure
from tests.bench.monitor import Monitor
from tests.fakes.flatdriver import HERE as VMRUN
from tests.fakes.flatdriver import put, store
from vmspec.registers import virtio as R

ROUNDS = 5
REQUESTS = {1: 20_000, 32: 96_000}  # at each depth
DISK = 16 << 20
FIRMWARE = Path(__file__).with_name("firmware.s")
FLAT = 0x100  # in the firmware
MICROVM = 0xFEB00000  # its first virtio device (hw/i386/microvm.c)
SPEC = """\
[vm]
name = "requests"
memory = "1MiB"
[boot]
mode = "protected"
code = "{code}"
[[device]]
kind = "debug-port"
[[device]]
kind = "virtio-blk"
path = "disk.img"
[trace]
path = "guest.arrow"
"""
QEMU = (
    "qemu-system-x86_64", "-M", "microvm,x-option-roms=off,acpi=off", "-accel", "kvm", "-cpu", "host", "-m", "16",
    "-nodefaults", "-no-user-config", "-display", "none", "-debugcon", "stdio", "-bios", "firmware.bin",
    "-global", "virtio-mmio.force-legacy=false", "-drive", "id=disk,file=disk.img,format=raw,if=none",
    "-device", "virtio-blk-device,drive=disk,bus=virtio-mmio-bus.0",
)  # fmt: skip
RUN = (sys.executable, "-m", "runner.cli", "guest.toml")
MONITORS = {
    "recording requests": RUN,
    "requests = false": (*RUN, "--set", "trace.requests=false"),
    "no trace": (*RUN, "--no-trace"),
    "QEMU": QEMU,
}

SPIN = b"\xeb\xfe"  # not HLT: with the vCPU's thread its CPU time would be gone
SLOTS, SIZE = 32, 128  # requests that take turns, three descriptors each; entries of the queue
QUEUE, AVAILABLE, USED, HEADERS, STATUS, DATA = 0x8000, 0x9000, 0xA000, 0xB000, 0xC000, 0x20000
SETUP = (
    *((R.STATUS, value) for value in (0, 1, 3)),
    (R.DRIVER_FEATURES, R.BLK_FLUSH),  # else each write is made durable
    (R.DRIVER_FEATURES_SEL, 1), (R.DRIVER_FEATURES, 1), (R.STATUS, 11),
    (R.QUEUE_NUM, SIZE), (R.QUEUE_DESC, QUEUE), (R.QUEUE_DRIVER, AVAILABLE), (R.QUEUE_DEVICE, USED),
    (R.QUEUE_READY, 1), (R.STATUS, 15),
)  # fmt: skip


class Cost(NamedTuple):
    """Of a request: seconds, CPU seconds of the monitor, and those of its threads but the vCPU's."""

    seconds: float
    cpu: float
    threads: float


def guest(registers: int, rounds: int, depth: int, *, write: bool) -> bytes:
    """Makes ``depth`` requests, tells of them and awaits them, ``rounds`` times, and prints a line before and after."""
    places = random.Random(7).sample(range(DISK // 4096), SLOTS)
    code = b"".join(store(registers + offset, value) for offset, value in SETUP)
    for slot, place in enumerate(places):
        header, first = HEADERS + 16 * slot, 3 * slot
        code += put(header, struct.pack("<IIQ", write, 0, 8 * place))
        table = ((header, 16, 1), (DATA + 4096 * slot, 4096, 1 if write else 3), (STATUS + slot, 1, 2))
        for at, (address, length, flags) in enumerate(table):
            code += put(QUEUE + 16 * (first + at), struct.pack("<QIHH", address, length, flags, first + at + 1))
    code += put(AVAILABLE, struct.pack(f"<HH{SIZE}H", 1, 0, *(3 * (entry % SLOTS) for entry in range(SIZE))))
    loop = b"\x66\x81\x05" + struct.pack("<IH", AVAILABLE + 2, depth)  # add word [idx], depth
    loop += store(registers + R.QUEUE_NOTIFY, 0)
    loop += b"\x66\xa1" + struct.pack("<I", AVAILABLE + 2)  # mov ax, [idx]
    loop += b"\x66\x3b\x05" + struct.pack("<I", USED + 2) + b"\x75\xf7"  # cmp ax, [used idx]; jne
    loop += b"\x49"  # dec ecx
    turns = b"\xb9" + struct.pack("<I", rounds) + loop + b"\x0f\x85" + struct.pack("<i", -len(loop) - 6)
    statuses = b"\xb0\x30" + b"".join(b"\x0a\x05" + struct.pack("<I", STATUS + slot) for slot in range(SLOTS))
    return code + say(b"begin\n") + turns + statuses + b"\xe6\xe9" + say(b"end\n") + SPIN


def say(text: bytes) -> bytes:
    """Print: mov al, byte; out 0xe9, al."""
    return b"".join(b"\xb0" + bytes([byte]) + b"\xe6\xe9" for byte in text)


def firmware(folder: Path) -> bytes:
    """What starts the guest under QEMU."""
    subprocess.run(["as", "--32", "-o", folder / "firmware.o", FIRMWARE], check=True)
    subprocess.run(["objcopy", "-O", "binary", folder / "firmware.o", folder / "firmware.bin"], check=True)
    return (folder / "firmware.bin").read_bytes()


def measure() -> list[Figure]:
    """Requests a second and CPU of each, and vmrun's ratios to QEMU."""
    figures = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "disk.img").write_bytes(random.Random(7).randbytes(DISK))
        start = firmware(folder)
        for write in (False, True):
            for depth, requests in REQUESTS.items():
                code = {at: guest(at, requests // depth, depth, write=write) for at in (VMRUN, MICROVM)}
                (folder / "guest.toml").write_text(SPEC.format(code=code[VMRUN].hex()))
                image = start[:FLAT] + code[MICROVM]
                (folder / "firmware.bin").write_bytes(image + start[len(image) :])
                rounds = [{name: one(folder, command, requests) for name, command in MONITORS.items()}
                          for _ in range(ROUNDS + 1)][1:]  # fmt: skip
                what = f"host, 4 KiB {'writes' if write else 'reads'} at depth {depth}"
                figures += compared(what, rounds)
    return figures


def one(folder: Path, command: tuple[str, ...], requests: int) -> Cost:
    """One run of the guest."""
    monitor = Monitor(command, folder)
    try:
        monitor.line(b"begin")
        before = monitor.sample()
        status = monitor.line(b"0end")
        after = monitor.sample()
    finally:
        monitor.end()
    assert not status.strip()
    cpu, threads = after.used(before)
    return Cost((after.t - before.t) / requests, cpu / requests, threads / requests)


def compared(what: str, rounds: list[dict[str, Cost]]) -> list[Figure]:
    """Medians of all, and of the ratios to QEMU within a round; a rate's ratio is vmrun's to QEMU's."""
    figures = []
    for name in rounds[0]:
        costs = [each[name] for each in rounds]
        figures.append(Figure(f"{what}: {name}", 1 / statistics.median(cost.seconds for cost in costs), "1/s"))
        cpu = statistics.median(cost.cpu for cost in costs)
        threads = statistics.median(cost.threads for cost in costs)
        figures.append(Figure(f"{what}: {name}: CPU", cpu * 1e6, "us"))
        figures.append(Figure(f"{what}: {name}: CPU but the vCPU's", threads * 1e6, "us"))
    for name in [name for name in rounds[0] if name != "QEMU"]:
        for measured, ratio in (
            ("rate", [each["QEMU"].seconds / each[name].seconds for each in rounds]),
            ("CPU", [each[name].cpu / each["QEMU"].cpu for each in rounds]),
        ):
            figures.append(Figure(f"{what}: {name} / QEMU, {measured}", statistics.median(ratio), "ratio"))
    return figures
