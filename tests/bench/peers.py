"""``vmtrace`` beside `perf kvm stat report`, `perf script` and `trace-cmd report`, on the same number of events.

Both record a guest's flood of exits in the lab, where KVM has its tracepoints; `vmtrace` reads a long trace of as many
rows. `perf kvm stat` counts, as ``vmtrace summary`` does; `perf script` and trace-cmd print every event, as ``vmtrace
events`` does.
"""

import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench import longtrace
from tests.bench.command import cost, vmtrace
from tests.bench.figure import Figure
from tests.bench.process import FLOOD, KINDS

ROOT = Path(__file__).resolve().parent.parent.parent
LIMITS = {"events": 1.0}  # of the ratio of CPU a row
EXITS = (40_000, 5)  # inner and outer loop of the flood; each exit is two events and one or two of what it is
SAMPLES = re.compile(r"SAMPLE events: +(\d+)")


def measure() -> list[Figure]:
    """Seconds of each program, and the ratios, which count the start of each."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        record(folder)
        data, events = folder / "perf.data", folder / "trace.dat"
        stats = subprocess.run(["perf", "report", "-i", data, "--stats"], check=True, capture_output=True, text=True)
        listed = subprocess.run(["trace-cmd", "report", "-i", events], check=True, capture_output=True, text=True)
        counted = SAMPLES.search(stats.stdout)
        if counted is None:
            raise RuntimeError(f"perf says no number of events:\n{stats.stdout}")
        return [
            *beside(
                "summary",
                "perf kvm stat report",
                ["perf", "kvm", "-i", str(data), "stat", "report", "--event=vmexit"],
                int(counted[1]),
            ),
            *beside("events", "perf script", ["perf", "script", "-i", str(data)], int(counted[1])),
            *beside(
                "events", "trace-cmd report", ["trace-cmd", "report", "-i", str(events)], listed.stdout.count(": kvm_")
            ),
        ]


def record(folder: Path) -> None:
    """Record the flood with perf and trace-cmd, in a lab with the folder as its share."""
    code, options = KINDS["debug-port"]
    spec = folder / "flood.toml"
    spec.write_text(FLOOD.format(inner=EXITS[0], outer=EXITS[1], port=code, kind="debug-port", options=options))
    guest = shlex.join([sys.executable, "-m", "runner.cli", str(spec), "--no-trace"])
    traced = "-e kvm:kvm_entry -e kvm:kvm_exit -e kvm:kvm_pio"
    script = f"cd {folder} && perf kvm stat record -o perf.data {guest} && trace-cmd record {traced} {guest}"
    lab = [ROOT / "tests" / "lab" / "lab", "--timeout", "600s", "--share", folder, "--", "sh", "-c"]
    subprocess.run(
        [*lab, f"export PYTHONPATH={ROOT}; {script}"], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )


def beside(command: str, name: str, peer: list[str], events: int) -> list[Figure]:
    """A command on so many rows beside its peer on so many events."""
    with tempfile.TemporaryDirectory() as folder:
        path, one = Path(folder, "boot.arrow"), Path(folder, "one.arrow")
        longtrace.write(path, events)
        longtrace.write(one, 1)
        costs = [[cost(each) for each in (vmtrace(command, path), peer, vmtrace(command, one))] for _ in range(3)]
    ours, theirs = (min(turn[side].seconds for turn in costs) for side in (0, 1))
    cpu, peer_cpu, start = (min(turn[side].cpu for turn in costs) for side in range(3))
    number = f"{events / 1e3:.0f} thousand events"
    rows = [
        Figure(f"{name}: CPU", peer_cpu / events * 1e6, "us/event"),
        Figure(f"vmtrace {command} without its start: CPU", (cpu - start) / events * 1e6, "us/row"),
        Figure(f"vmtrace {command} / {name}, CPU a row", (cpu - start) / peer_cpu, "ratio", LIMITS.get(command)),
    ]
    return [
        *rows,
        Figure(f"{name}, {number}", theirs, "s"),
        Figure(f"vmtrace {command}, {number}", ours, "s"),
        Figure(f"vmtrace {command} / {name}", ours / theirs, "ratio"),
    ]
