"""What a run costs its host: user-mode CPU an exit in a flood of output, and memory beyond the guest's own."""

import statistics
import subprocess
import tempfile
from pathlib import Path

from tests.bench import command, installed
from tests.bench.figure import Figure

HERE = Path(__file__).resolve().parent
INNER, OUTER = 40_000, 20  # exits: their product
RUNS = 3

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


def measure() -> list[Figure]:
    """Floods with recording on, beside a loop in C that only calls KVM_RUN."""
    vmrun = installed.vmrun()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        bare = directory / "bare"
        subprocess.run(["cc", "-O2", "-o", bare, HERE / "bare.c"], check=True)
        loops, floods, peaks = [], {kind: list[float]() for kind in KINDS}, []
        for _ in range(RUNS):
            loop = subprocess.run([bare, str(INNER * OUTER)], check=True, capture_output=True, text=True)
            loops.append(float(loop.stdout) / 1000)
            for kind in KINDS:
                idle = cost(vmrun, directory, kind, 1, 1)
                busy = cost(vmrun, directory, kind, INNER, OUTER)
                floods[kind].append((busy.user - idle.user) / (INNER * OUTER) * 1e6)
                peaks.append(busy.peak)
    figures = [Figure("user CPU an exit, bare C loop", statistics.median(loops), "us")]
    for kind, times in floods.items():
        figures.append(Figure(f"user CPU an exit, {kind} flood, recording", statistics.median(times), "us", 0.4))
    # The guest's own MiB is counted in.
    figures.append(Figure("peak memory of a recording run, 1 MiB guest", max(peaks), "MiB", 81))
    return figures


def cost(vmrun: str, directory: Path, kind: str, inner: int, outer: int) -> command.Cost:
    """What one run costs."""
    port, options = KINDS[kind]
    spec = directory / "flood.toml"
    spec.write_text(FLOOD.format(inner=inner, outer=outer, port=port, kind=kind, options=options))
    return command.cost([vmrun, str(spec)])
