"""What a command costs, as a process of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path


def vmtrace(*arguments: str | Path) -> list[str]:
    """The command line of a ``vmtrace``."""
    return [sys.executable, "-m", "tracer.cli", *map(str, arguments)]


def cost(command: Sequence[str], status: int = 0) -> tuple[float, float, float]:
    """Seconds, CPU seconds and peak resident MiB of one run, which must end with ``status``."""
    start = time.monotonic()
    # A write for each line printed is not what users have.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, ended, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(ended)  # it is waited for
    if process.returncode != status:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return time.monotonic() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
