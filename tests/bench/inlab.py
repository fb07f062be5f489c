"""Runs inside the lab: boots the same Linux in turn with vmrun, QEMU's microvm and, if installed, kvmtool.

Writes {"seconds": {name: [to userspace, …]}, "own": {name: [the guest's own seconds to userspace, …]}, "events":
{name: {tracepoint: count}}} as JSON.
"""

import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"
LINUX, REPEAT = EXAMPLES / "linux", EXAMPLES / "repeat" / "repeat.toml"
MARK = b"vmrun: userspace"
OWN = re.compile(rb"\[ *(\d+\.\d+)\] Run /init as init process")  # by the guest's clock
PATIENCE = 60  # seconds for one boot
CMDLINE = "console=ttyS0 panic=-1 reboot=k"  # as the spec has it
MICROVM = CMDLINE.replace("reboot=k", "reboot=t")  # it has no keyboard controller, and its guest would not end
COMMANDS = {
    "vmrun": [sys.executable, "-m", "runner.cli", str(LINUX / "linux.toml"), "--trace", "/run/linux.arrow"],
    "vmrun, recording tracepoints too": [
        sys.executable, "-m", "runner.cli", str(LINUX / "linux.toml"), "--trace", "/run/tracepoints.arrow",
        "--set", 'trace.tracepoints="required"',
    ],
    "vmrun, recording the essential tracepoints too": [
        sys.executable, "-m", "runner.cli", str(LINUX / "linux.toml"), "--trace", "/run/essential.arrow",
        "--set", 'trace.tracepoints="required"', "--set", 'trace.events="kvm_exit"',
    ],
    "vmrun, virtual time": [sys.executable, "-m", "runner.cli", str(REPEAT), "--trace", "/run/virtual.arrow"],
    "vmrun, the same with the host's time": [
        sys.executable, "-m", "runner.cli", str(REPEAT), "--trace", "/run/same.arrow",
        "--set", 'vm.time="host"', "--set", f"boot.cmdline={CMDLINE}",
    ],
    "vmrun, not recording": [sys.executable, "-m", "runner.cli", str(LINUX / "linux.toml"), "--no-trace"],
    "QEMU microvm": [
        "qemu-system-x86_64", "-M", "microvm,x-option-roms=off,rtc=on,acpi=on", "-accel", "kvm", "-cpu", "host",
        "-m", "256", "-kernel", str(LINUX / "vmlinuz"), "-initrd", str(LINUX / "initrd.img"),
        "-append", MICROVM, "-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot",
    ],
}  # fmt: skip
if lkvm := shutil.which("lkvm"):
    COMMANDS["kvmtool"] = [
        lkvm, "run", "-c", "1", "-m", "256", "-k", str(LINUX / "vmlinuz"), "-i", str(LINUX / "initrd.img"),
        "-p", CMDLINE, "--console", "serial",
    ]  # fmt: skip
# What the kernel counts of a whole run. kvm_page_fault: a nested page fault that KVM resolves.
EVENTS = ("kvm:kvm_page_fault", "kvm:kvm_exit", "kvm:kvm_entry", "kvm:kvm_userspace_exit", "kvm:kvm_pio")
COUNTS = Path("/run/perf.csv")


class Reached(NamedTuple):
    """Seconds to the guest's first line from userspace: from the start of the command, and by the guest's clock, which
    begins with its kernel."""

    seconds: float
    own: float


def counted(command: list[str]) -> dict[str, int] | None:
    """How often each of :data:`EVENTS` happened in a run of the command; None: the guest stood still."""
    if userspace(["perf", "stat", "-x,", "-o", str(COUNTS), "-e", ",".join(EVENTS), "--", *command]) is None:
        return None
    rows = [line.split(",") for line in COUNTS.read_text().splitlines() if "," in line]
    return {row[2]: int(row[0]) for row in rows}


def userspace(command: list[str]) -> Reached | None:
    """One boot; None: the guest stood still."""
    start = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    watchdog = threading.Timer(PATIENCE, process.kill)
    watchdog.start()
    seen = b""
    reached = None
    while data := process.stdout.read1(65536):
        seen += data
        if reached is None and MARK in seen:
            reached = time.monotonic() - start
    watchdog.cancel()
    if process.wait() == -signal.SIGKILL:
        return None
    own = OWN.search(seen)
    if reached is None or own is None:
        raise RuntimeError(f"{command[0]} did not reach userspace:\n{seen[-2000:].decode(errors='replace')}")
    return Reached(reached, float(own[1]))


def main() -> None:
    out, runs = Path(sys.argv[1]), int(sys.argv[2])
    times: dict[str, list[Reached]] = {name: [] for name in COMMANDS}
    for number in range(runs + 1):  # the first round fills the lab's page cache and is not counted
        for name, command in COMMANDS.items():
            # The emulated host lets a guest stand still now and then, whoever runs it (tests/lab/inside/watched.py).
            while (reached := userspace(command)) is None:
                print(f"{name}: stood still, and is started once more", flush=True)
            told = f"{reached.seconds:.2f} s, {reached.own:.2f} s of them the guest's own"
            print(f"{name}: {told}{' (not counted)' if number == 0 else ''}", flush=True)
            if number:
                times[name].append(reached)
    seconds = {name: [one.seconds for one in reached] for name, reached in times.items()}
    own = {name: [one.own for one in reached] for name, reached in times.items()}
    events: dict[str, dict[str, int]] = {}
    out.write_text(json.dumps({"seconds": seconds, "own": own, "events": events}))  # counting can end this host
    for name, command in COMMANDS.items():
        while (counts := counted(command)) is None:
            print(f"{name}: stood still, and is started once more", flush=True)
        events[name] = counts
    out.write_text(json.dumps({"seconds": seconds, "own": own, "events": events}))


if __name__ == "__main__":
    main()
