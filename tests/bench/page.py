"""The cost of a report: seconds, bytes and memory for a generated trace of ten million exits."""

import tempfile
from pathlib import Path

from tests.bench import longtrace
from tests.bench.command import cost, vmtrace
from tests.bench.figure import Figure

ROWS = 10_000_000


def measure() -> list[Figure]:
    """One report, as a command of its own."""
    trace = longtrace.trace(ROWS)
    with tempfile.TemporaryDirectory() as name:
        page = Path(name) / "long.html"
        spent = cost(vmtrace("report", trace, "-o", page))
        size = page.stat().st_size
    rows = f"{ROWS / 1e6:g}M exits"
    return [
        Figure(f"report of {rows}", spent.seconds, "s", 15),
        Figure(f"report of {rows}, CPU", spent.cpu, "s"),
        Figure(f"report of {rows}, the page", size / 1e6, "MB", 10),
        Figure(f"report of {rows}, peak memory", spent.peak, "MiB", 1024),
    ]
