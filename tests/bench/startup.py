"""From exec to the first KVM_RUN, beside QEMU's microvm."""

import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench import installed
from tests.bench.figure import Figure

ROOT = Path(__file__).resolve().parent.parent.parent
RUNS = 15
LIMIT = 20.0  # seconds for one start
LINUX = ROOT / "examples" / "linux"


def measure() -> list[Figure]:
    """Medians of interleaved runs under strace, which with seccomp-bpf stops only at execve and ioctl."""
    for tool in ("strace", "qemu-system-x86_64"):
        if shutil.which(tool) is None:
            raise FileNotFoundError(f"{tool} is not installed")
    vmrun = installed.vmrun()
    kernel, initrd = LINUX / "vmlinuz", LINUX / "initrd.img"
    if not kernel.exists():
        subprocess.run([sys.executable, LINUX / "prepare.py"], check=True)
    # The host's processor less one MSR that not every host's KVM lets QEMU set.
    qemu = ["qemu-system-x86_64", "-M", "microvm,x-option-roms=off,rtc=on", "-accel", "kvm",
            "-cpu", "host,-arch-capabilities", "-m", "256", "-kernel", str(kernel), "-initrd", str(initrd),
            "-append", "console=ttyS0", "-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio",
            "-no-reboot"]  # fmt: skip
    commands = {
        "vmrun, hello": [vmrun, str(ROOT / "examples" / "hello" / "hello.toml"), "--trace", "{trace}"],
        "vmrun, Linux": [vmrun, str(LINUX / "linux.toml"), "--trace", "{trace}"],
        "QEMU microvm, Linux": qemu,
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    with tempfile.TemporaryDirectory() as directory:
        for _ in range(RUNS):
            for name, command in commands.items():
                trace = str(Path(directory) / "trace.arrow")
                times[name].append(first_run([part.format(trace=trace) for part in command], Path(directory)))
    medians = {name: statistics.median(values) * 1000 for name, values in times.items()}
    figures = [Figure(f"exec to first KVM_RUN: {name}", value, "ms", 80 if "vmrun" in name else None)
               for name, value in medians.items()]  # fmt: skip
    ratio = medians["vmrun, Linux"] / medians["QEMU microvm, Linux"]
    return [*figures, Figure("exec to first KVM_RUN: vmrun / QEMU microvm, Linux", ratio, "ratio", 1)]


def first_run(command: list[str], directory: Path) -> float:
    """Seconds from execve to the first KVM_RUN; the run is ended as soon as that is seen."""
    log = directory / "strace"
    log.unlink(missing_ok=True)
    tracer = subprocess.Popen(
        ["strace", "-f", "--seccomp-bpf", "-ttt", "-e", "trace=execve,ioctl", "-o", log, *command],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        return seen(log, time.monotonic() + LIMIT)
    finally:
        # The whole group: strace alone would leave the guest running.
        os.killpg(tracer.pid, signal.SIGKILL)
        tracer.wait()


def seen(log: Path, deadline: float) -> float:
    """Wait for the first KVM_RUN in the log; strace writes a call there when it returns or another thread's comes."""
    while time.monotonic() < deadline:
        text = log.read_text() if log.exists() else ""
        start = re.search(r"^\d+ +([0-9.]+) execve", text, re.M)
        run = re.search(r"^\d+ +([0-9.]+) ioctl\(\d+, KVM_RUN", text, re.M)
        if start is not None and run is not None:
            return float(run[1]) - float(start[1])
        time.sleep(0.05)
    raise RuntimeError(f"no KVM_RUN seen within {LIMIT:g} s")
