"""What a report costs: of a generated trace of ten million exits, its seconds, its bytes and its memory."""

import os
import sys
import tempfile
import time
from pathlib import Path

from tests.bench import longtrace
from tests.bench.figure import Figure

ROWS = 10_000_000


def measure() -> list[Figure]:
    """One report, as a command of its own."""
    with tempfile.TemporaryDirectory() as name:
        trace, page = Path(name) / "long.arrow", Path(name) / "long.html"
        longtrace.write(trace, ROWS)
        seconds, busy, peak = cost([sys.executable, "-m", "tracer.cli", "report", str(trace), "-o", str(page)])
        size = page.stat().st_size
    rows = f"{ROWS / 1e6:g}M exits"
    return [
        Figure(f"report of {rows}", seconds, "s", 15),
        Figure(f"report of {rows}, CPU", busy, "s"),
        Figure(f"report of {rows}, the page", size / 1e6, "MB", 10),
        Figure(f"report of {rows}, peak memory", peak / 1024, "MiB", 1024),
    ]


def cost(argv: list[str]) -> tuple[float, float, float]:
    """Seconds, CPU seconds and peak resident KiB of a command."""
    start = time.monotonic()
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    pid = os.posix_spawn(argv[0], argv, os.environ, file_actions=quiet)
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise RuntimeError(f"{' '.join(argv)} ended with wait status {status:#x}")
    return time.monotonic() - start, usage.ru_utime + usage.ru_stime, float(usage.ru_maxrss)
