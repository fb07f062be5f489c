"""From exec to the first KVM_RUN, beside QEMU's microvm."""

import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench import installed
from tests.bench.figure import Figure

ROOT = Path(__file__).resolve().parent.parent.parent
RUNS = 15
LIMIT = 1.0  # seconds for one start
FIRST = 5.0  # of the first: caches are cold, and Python may compile
KVM_RUN = 0xAE80  # linux/kvm.h
LINUX = ROOT / "examples" / "linux"


def measure() -> list[Figure]:
    """Medians of interleaved runs. The host's tracepoints tell the times: a tracer that stops the process at its calls
    would add a third."""
    for tool in ("perf", "qemu-system-x86_64"):
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
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        trace = str(directory / "trace.arrow")
        for number in range(RUNS + 1):  # the first round fills the caches and is not counted
            for name, command in commands.items():
                limit = LIMIT if number else FIRST
                seconds = first_run([part.format(trace=trace) for part in command], directory, limit)
                if number:
                    times[name].append(seconds)
    medians = {name: statistics.median(values) * 1000 for name, values in times.items()}
    figures = [Figure(f"exec to first KVM_RUN: {name}", value, "ms", 80 if "vmrun" in name else None)
               for name, value in medians.items()]  # fmt: skip
    ratio = medians["vmrun, Linux"] / medians["QEMU microvm, Linux"]
    return [*figures, Figure("exec to first KVM_RUN: vmrun / QEMU microvm, Linux", ratio, "ratio", 1)]


def first_run(command: list[str], directory: Path, limit: float) -> float:
    """Seconds from execve to the first KVM_RUN; the run is ended after ``limit`` seconds."""
    data = directory / "perf.data"
    # timeout(1) is a process of its own, so that the command's exec is one that perf sees.
    record = ["perf", "record", "-q", "-o", data, "-e", "sched:sched_process_exec",
              "-e", "syscalls:sys_enter_ioctl", "--filter", f"cmd == {KVM_RUN:#x}",
              "--", "timeout", "-s", "KILL", str(limit), *command]  # fmt: skip
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(record, check=False, **quiet)
    script = ["perf", "script", "-i", data, "-F", "time,event,trace"]
    text = subprocess.run(script, check=True, capture_output=True, text=True).stdout
    started = re.findall(rf"([0-9.]+): +sched:sched_process_exec: filename={re.escape(command[0])}", text)
    if not started:  # found on PATH
        started = re.findall(rf"([0-9.]+): +sched:sched_process_exec: filename=\S*/{re.escape(command[0])} ", text)
    run = re.search(r"([0-9.]+): +syscalls:sys_enter_ioctl:", text)
    if not started or run is None:
        raise RuntimeError(f"no KVM_RUN of {command[0]} seen within {limit} s")
    return float(run[1]) - float(started[-1])
