"""What a run costs its host: user-mode CPU an exit in a flood of output, memory beyond the guest's own, and how long a
guest waits for a device in Python while the recorder starts."""

import json
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from tests.bench import installed
from tests.bench.figure import Figure

HERE = Path(__file__).resolve().parent
INNER = 40_000  # exits of one round of a flood
SHORT, LONG = 4, 44  # rounds of two floods: their difference is without the start and the end of a run
RUNS = 3
READS = 100_000  # of a register in Python
STARTS = 5

FLOOD = """
[vm]
name = "flood"
memory = "1MiB"
timeout = "120s"

[boot]
mode = "real"
registers = {{ rcx = {inner}, rbx = {outer} }}
code = '''
89 ce      # mov si, cx
ba {port}   # mov dx, port
ee         # out dx, al
49         # dec cx
75 fc      # jnz out
89 f1      # mov cx, si
4b         # dec bx
75 f7      # jnz out
f4         # hlt
'''

[[device]]
kind = "{kind}"
{options}

[trace]
path = "flood.arrow"
"""
KINDS = {
    "debug-port": ("e9 00", 'output = "none"'),
    "serial": ("f8 03", 'output = "none"\ninput = "none"'),
}

READING = """
[vm]
name = "reading"
memory = "1MiB"
timeout = "120s"

[boot]
mode = "real"
registers = {{ rcx = {inner}, rbx = {outer} }}
code = '''
89 ce      # mov si, cx
ba 00 03   # mov dx, 0x300
ec         # in al, dx
49         # dec cx
75 fc      # jnz in
89 f1      # mov cx, si
4b         # dec bx
75 f7      # jnz in
f4         # hlt
'''

[[device]]
kind = "python"
class = "register:Register"
port = [0x300, 1]
"""
# Keeps the longest time from one read to the next: the guest does nothing else.
REGISTER = """
import sys
import time
from runner.devices import Device

class Register(Device):
    def __init__(self):
        self.before, self.longest = 0, 0

    def read(self, region, offset, size):
        now = time.perf_counter_ns()
        if self.before:
            self.longest = max(self.longest, now - self.before)
        self.before = now
        return 0

    def close(self):
        print("longest", self.longest, file=sys.stderr)
"""
# Runs vmrun's command, and prints user seconds and peak resident MiB of the command and of its recorder.
TOLD = """
import json, os, sys
from pathlib import Path
from runner.entry import main

def used(process):
    peak = next(line for line in Path(f"/proc/{process}/status").read_text().splitlines() if line.startswith("VmHWM"))
    ticks = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()[11]
    return int(ticks) / os.sysconf("SC_CLK_TCK"), int(peak.split()[1]) / 1024

assert main(sys.argv[1:]) == 0
from runner.recording import process
print(json.dumps([*used("self"), *used(process._process.pid)]), file=sys.stderr)
"""


class Used(NamedTuple):
    """User seconds and peak MiB of a VMM and of its recorder."""

    user: float
    peak: float
    recorder_user: float
    recorder_peak: float


def measure() -> list[Figure]:
    """Floods with recording on, beside a loop in C that only calls KVM_RUN."""
    python = str(Path(installed.vmrun()).with_name("python"))
    figures = []
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        bare = directory / "bare"
        subprocess.run(["cc", "-O2", "-o", bare, HERE / "bare.c"], check=True)
        loops, runs = [], []
        floods, shares = {kind: list[float]() for kind in KINDS}, {kind: list[float]() for kind in KINDS}
        for _ in range(RUNS):
            loop = subprocess.run([bare, str(INNER * LONG)], check=True, capture_output=True, text=True)
            loops.append(float(loop.stdout) / 1000)
            for kind in KINDS:
                short, long = flood(python, directory, kind, SHORT), flood(python, directory, kind, LONG)
                exits = INNER * (LONG - SHORT) / 1e6
                floods[kind].append((long.user - short.user) / exits)
                shares[kind].append((long.recorder_user - short.recorder_user) / exits)
                runs.append(long)
        figures.append(Figure("user CPU an exit, bare C loop", statistics.median(loops), "us"))
        for kind in KINDS:
            told = f"user CPU an exit, {kind} flood, recording"
            figures.append(Figure(f"{told}: the VMM", statistics.median(floods[kind]), "us", 0.4))
            figures.append(Figure(f"{told}: its recorder", statistics.median(shares[kind]), "us"))
        beyond = max(run.peak for run in runs) - 1  # the guest has 1 MiB
        both = max(run.peak + run.recorder_peak for run in runs) - 1
        figures.append(Figure("peak memory of a recording VMM beyond guest RAM", beyond, "MiB", 40))
        figures.append(Figure("peak memory of VMM and recorder beyond guest RAM", both, "MiB", 110))
        figures += waits(python, directory)
    return figures


def flood(python: str, directory: Path, kind: str, rounds: int) -> Used:
    """What one run costs."""
    port, options = KINDS[kind]
    spec = directory / "flood.toml"
    spec.write_text(FLOOD.format(inner=INNER, outer=rounds, port=port, kind=kind, options=options))
    done = subprocess.run([python, "-c", TOLD, spec], check=True, capture_output=True, text=True)
    return Used(*json.loads(done.stderr.splitlines()[-1]))


def waits(python: str, directory: Path) -> list[Figure]:
    """The longest wait for a register in Python, in turn with the recorder starting beside it and without a trace."""
    (directory / "register.py").write_text(REGISTER)
    spec = directory / "reading.toml"
    spec.write_text(READING.format(inner=READS // 10, outer=10))
    longest: dict[str, list[float]] = {"while the recorder starts": [], "not recording": []}
    for _ in range(STARTS):
        for when, option in zip(longest, (["--trace", directory / "reading.arrow"], ["--no-trace"]), strict=True):
            command = [python, "-m", "runner.cli", spec, *option]
            done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=directory)
            text = next(line for line in done.stderr.splitlines() if line.startswith("longest"))
            longest[when].append(int(text.split()[1]) / 1e6)
    return [
        Figure(f"longest wait for a register in Python, {when}", statistics.median(times), "ms")
        for when, times in longest.items()
    ]
