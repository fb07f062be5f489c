"""Records the small runs beside this file, on this host's KVM: ``python -m tests.runner.replay.record [NAME]...``."""

import os
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from threading import Timer

import tomli_w

import runner
from tests.fakes.flatdriver import DATA, HERE, HLT, show, show_register, start, store
from tests.runner.backends.test_user import arp
from tests.runner.devices.virtio.test_blk import contents
from tests.runner.devices.virtio.test_virtual_guests import REQUESTS, request
from tests.runner.replay import devicesguests as guests
from tests.runner.test_virtual import READS_TSC, SENDS
from tests.runner.test_virtual_input import ECHO, PASSES
from tests.runner.virtualguests import CONTRACT, CONTROLLERS, HANDLERS
from vmspec.registers import virtio as R

FOLDER = Path(__file__).parent / "recordings"
RTC = {"kind": "rtc", "time": datetime(2026, 1, 1, 12, 0, tzinfo=UTC)}
# The controller's self-test, its command byte, what the keyboard says of itself, and all registers of the clock.
LOOKS = """
    cli
    mov $0xaa, %al; out %al, $0x64; in $0x64, %al; in $0x60, %al
    mov $0x20, %al; out %al, $0x64; in $0x64, %al; in $0x60, %al
    mov $0xf2, %al; out %al, $0x60; in $0x64, %al; in $0x60, %al; in $0x60, %al
    mov $0xed, %al; out %al, $0x60; in $0x60, %al; in $0x64, %al
    mov $0x0b, %al; out %al, $0x70; mov $0x26, %al; out %al, $0x71
    mov $64, %cx
1:  mov %cl, %al; out %al, $0x70; in $0x71, %al
    loop 1b
    mov $8, %cx
    mov $0x3f8, %dx
2:  in %dx, %al
    inc %dx
    loop 2b
    mov $0x3fb, %dx; mov $0x83, %al; out %al, %dx; in %dx, %al
    mov $0x3f8, %dx; mov $1, %al; out %al, %dx; in %dx, %al
    mov $0x3ff, %dx; mov $0x5a, %al; out %al, %dx; in %dx, %al
    hlt
"""
SERIAL = {"kind": "serial", "input": "none"}
DEBUG = {"kind": "debug-port"}
DISK = {"kind": "virtio-blk", "path": "disk.img", "mode": "overlay"}
EVENT_IDX = 1 << 29
REGISTERS = (R.MAGIC, R.DEVICE_ID, R.DEVICE_FEATURES, R.QUEUE_NUM_MAX, R.STATUS, R.INTERRUPT_STATUS, R.CONFIG)
# The disk's serial number, and registers before and after its interrupt is acknowledged.
MORE = request(4, 8, 0, 20, write=True) + show(DATA, 20) + b"".join(map(show_register, REGISTERS))
MORE += store(HERE + R.INTERRUPT_ACK, 1) + show_register(R.INTERRUPT_STATUS)
GUESTS = {
    "ticks": ("TURNS = 150\n" + CONTRACT, [RTC, {"kind": "post-port"}, {"kind": "debug-port"}], b""),
    "sends": (CONTROLLERS + SENDS + HANDLERS, [SERIAL, {"kind": "post-port"}], b""),
    "echo": (CONTROLLERS + ECHO + HANDLERS, [{"kind": "serial"}], b"a recording with input."),
    "passes": (CONTROLLERS + PASSES + ECHO + HANDLERS, [{"kind": "serial"}], b"later."),
    "looks": (LOOKS, [{"kind": "i8042"}, RTC, SERIAL], b""),
    "counts": (READS_TSC, [{"kind": "post-port"}, {"kind": "tsc"}], b""),
    "disk": (start(features=R.BLK_FLUSH | EVENT_IDX) + REQUESTS + MORE + HLT, [DISK, DEBUG], b""),
    "halts": (guests.interrupted([(3, 512), (0, 1024)]) + HLT, [DISK, DEBUG], b""),
    "random": (guests.random_bytes([33, 70, 1]) + HLT, [{"kind": "virtio-rng", "seed": 5}, DEBUG], b""),
    "network": (
        guests.exchange_interrupted([arp(1), arp(1, bytes([10, 0, 2, 3]))])
        + b"".join(map(show_register, REGISTERS))
        + HLT,
        [{"kind": "virtio-net"}, DEBUG],
        b"",
    ),
    "console": (guests.echo(14) + HLT, [{"kind": "virtio-console"}, DEBUG], b"more than fits"),
}


def assembled(source: str, folder: Path) -> bytes:
    """The machine code of a guest."""
    text, elf, flat = folder / "guest.s", folder / "guest.elf", folder / "guest.bin"
    text.write_text(f".code16\n.globl _start\n_start:\n{source}\n")
    subprocess.run(["as", "-o", f"{elf}.o", text], check=True)
    subprocess.run(["ld", "-Ttext=0x1000", "-o", elf, f"{elf}.o"], check=True)
    subprocess.run(["objcopy", "-O", "binary", "-j", ".text", elf, flat], check=True)
    return flat.read_bytes()


def main(*names: str) -> None:
    """Record these guests; without names, each."""
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "disk.img").write_bytes(contents(8))
    for name in names or GUESTS:
        source, devices, typed = GUESTS[name]
        with tempfile.TemporaryDirectory() as folder:
            flat = isinstance(source, bytes)
            code = source if flat else assembled(source, Path(folder))
            spec = {
                "vm": {"name": name, "memory": "1MiB", "time": "virtual"},
                "boot": {"mode": "protected" if flat else "real", "code": code.hex(" ")},
                "device": devices,
                "trace": {
                    "path": str(FOLDER / f"{name}.arrow"),
                    "inputs": bool(typed) or flat,
                    "requests": False,
                    "outputs": False,
                },
            }
            shutil.copy(FOLDER / "disk.img", folder)
            path = Path(folder) / f"{name}.toml"
            path.write_text(tomli_w.dumps(spec))
            source_fd, sink = os.pipe()
            # It comes when guests that wait for it are halted.
            writer = Timer(0.5, lambda sink=sink, typed=typed: (os.write(sink, typed), os.close(sink)))
            writer.start()
            print(name, runner.run(path, input=source_fd if typed else None).kind)
            writer.join()
            os.close(source_fd)


if __name__ == "__main__":
    main(*sys.argv[1:])
