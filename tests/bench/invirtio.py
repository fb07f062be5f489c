"""Runs inside the lab: one Linux under vmrun, under QEMU and, if it is installed, kvmtool, all at once. Each has a disk
and a tap; they drive these in turn (traffic.c).

Writes {monitor: {measure: [[operations a second, bytes a second, CPU seconds an operation], …]}} as JSON.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from tests.bench.monitor import Monitor, StoodStill

# What the guest does, and how many operations are in flight.
MEASURES = {
    "sequential reads": "read 4",
    "sequential writes": "write 4",
    "random reads, depth 1": "randread 1",
    "random reads, depth 32": "randread 32",
    "random writes, depth 1": "randwrite 1",
    "random writes, depth 32": "randwrite 32",
    "bytes sent": "send 1",
    "bytes received": "receive 1",
    "round trips": "trip 1",
}
MS = 500  # of a measure
DISK = 48 << 20
HERE = Path("/run/virtio")
SPEC = """\
[vm]
name = "traffic{number}"
memory = "128MiB"
transport = "{transport}"
[boot]
kernel = "{folder}/vmlinuz"
initrd = "{folder}/initrd.img"
cmdline = "{cmdline}"
[[device]]
kind = "serial"
[[device]]
kind = "i8042"
[[device]]
kind = "rtc"
[[device]]
kind = "acpi"
[[device]]
kind = "virtio-blk"
path = "disk{number}.img"
[[device]]
kind = "virtio-net"
tap = "tap{number}"
[trace]
path = "traffic{number}.arrow"
"""
MACHINES = {
    "mmio": ("microvm,x-option-roms=off,rtc=on,acpi=on", "virtio-blk-device", "virtio-net-device"),
    "pci": ("q35", "virtio-blk-pci,disable-legacy=on", "virtio-net-pci,disable-legacy=on,romfile="),
}
VARIANTS = {
    "recording requests": (),
    "requests = false": ("--set", "trace.requests=false"),
    "no trace": ("--no-trace",),
    "ioeventfd": ("--set", "device[4].notify=ioeventfd", "--set", "device[5].notify=ioeventfd"),
}


def cmdline(number: int) -> str:
    """Linux's, with the guest's and the host's addresses."""
    return f"console=ttyS0 quiet panic=-1 address=10.9.{number}.2 peer=10.9.{number}.1"


def vmrun(folder: Path, number: int, transport: str, options: tuple[str, ...]) -> list[str]:
    """The command of vmrun."""
    spec = HERE / f"traffic{number}.toml"
    spec.write_text(SPEC.format(number=number, transport=transport, folder=folder, cmdline=cmdline(number)))
    return [sys.executable, "-m", "runner.cli", str(spec), *options]


def qemu(folder: Path, number: int, transport: str) -> list[str]:
    """The command of QEMU."""
    machine, disk, network = MACHINES[transport]
    return [
        "qemu-system-x86_64", "-M", machine, "-accel", "kvm", "-cpu", "host", "-m", "128",
        "-kernel", f"{folder}/vmlinuz", "-initrd", f"{folder}/initrd.img", "-append", cmdline(number),
        "-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio",
        "-global", "virtio-mmio.force-legacy=false",
        "-drive", f"id=disk,file=disk{number}.img,format=raw,if=none", "-device", f"{disk},drive=disk",
        "-netdev", f"tap,id=net,ifname=tap{number},script=no,downscript=no", "-device", f"{network},netdev=net",
    ]  # fmt: skip


def kvmtool(lkvm: str, folder: Path, number: int) -> list[str]:
    """The command of kvmtool: it has virtio by PCI."""
    return [
        lkvm, "run", "-c", "1", "-m", "128", "-k", f"{folder}/vmlinuz", "-i", f"{folder}/initrd.img",
        "-p", cmdline(number), "--console", "serial", "-d", f"disk{number}.img",
        "-n", f"mode=tap,tapif=tap{number},guest_mac=52:54:00:00:00:{number:02x}",
    ]  # fmt: skip


def commands(folder: Path) -> dict[str, list[str]]:
    """Of each monitor; the numbers are those of their disks and taps."""
    found: dict[str, list[str]] = {}
    for transport in MACHINES:
        for variant, options in VARIANTS.items():
            found[f"{transport}: {variant}"] = vmrun(folder, len(found), transport, options)
        found[f"{transport}: QEMU"] = qemu(folder, len(found), transport)
    if lkvm := shutil.which("lkvm"):
        found["pci: kvmtool"] = kvmtool(lkvm, folder, len(found))
    return found


def prepare(number: int) -> None:
    """A disk and a tap."""
    (HERE / f"disk{number}.img").write_bytes(b"\x5a" * DISK)
    for words in (
        f"tuntap add tap{number} mode tap",
        f"address add 10.9.{number}.1/24 dev tap{number}",
        f"link set tap{number} up",
    ):
        subprocess.run(["ip", *words.split()], check=True)


def booted(name: str, command: list[str]) -> Monitor:
    """A monitor whose guest waits for lines. The emulated host lets a guest stand still now and then."""
    for _ in range(3):
        monitor = Monitor(command, HERE, terminal=name.endswith("kvmtool"))
        try:
            monitor.line(b"traffic: ready")
        except StoodStill as problem:
            print(f"{name}: {problem}; it is started once more", flush=True)
            monitor.end()
            continue
        print(f"{name}: is up", flush=True)
        return monitor
    raise RuntimeError(f"{name} did not come up")


def measured(monitor: Monitor, what: str) -> tuple[float, float, float]:
    """One measure: operations and bytes a second, by the guest's clock, and the monitor's CPU seconds an operation."""
    before = monitor.sample()
    monitor.say(f"{what} {MS}".encode())
    count, size, ns = (int(word) for word in monitor.line(b"result ").split())
    cpu, _ = monitor.sample().used(before)
    return count / ns * 1e9, size / ns * 1e9, cpu / count


def main() -> None:
    folder, rounds = Path(sys.argv[1]), int(sys.argv[2])
    HERE.mkdir()
    todo = commands(folder)
    other = subprocess.Popen([folder / "traffic", "serve"])
    for number in range(len(todo)):
        prepare(number)
    monitors = {name: booted(name, command) for name, command in todo.items()}
    found: dict[str, dict[str, list[tuple[float, float, float]]]]
    found = {name: {measure: [] for measure in MEASURES} for name in todo}
    for number in range(rounds + 1):  # the first one is not counted
        for measure, what in MEASURES.items():
            for name, monitor in list(monitors.items()):
                try:
                    result = measured(monitor, what)
                except StoodStill as problem:
                    print(f"{name}, {measure}: {problem}; it is left out", flush=True)
                    monitor.end()
                    del monitors[name]
                    continue
                if number:
                    found[name][measure].append(result)
        (folder / "virtio.json").write_text(json.dumps(found))
        print(f"round {number} of {rounds}", flush=True)
    for monitor in monitors.values():
        monitor.end()
    other.kill()


if __name__ == "__main__":
    main()
