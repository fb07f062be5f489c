"""The cost of a command, as a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

# Linux counts what a process had in memory before it became another program: so a small one starts the command.
STARTER = """
import json, os, sys, time
start = time.monotonic()
pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ)
_, ended, usage = os.wait4(pid, 0)
seconds = time.monotonic() - start
status = os.waitstatus_to_exitcode(ended)
print(json.dumps([status, seconds, usage.ru_utime, usage.ru_stime, usage.ru_maxrss / 1024]), file=sys.stderr)
"""


class Cost(NamedTuple):
    """Of one run: its seconds, those of CPU in user mode and in the kernel, and its peak resident MiB."""

    seconds: float
    user: float
    system: float
    peak: float

    @property
    def cpu(self) -> float:
        """CPU seconds in all."""
        return self.user + self.system


def vmtrace(*arguments: str | Path) -> list[str]:
    """The command line of a ``vmtrace``."""
    return [sys.executable, "-m", "tracer.cli", *map(str, arguments)]


def cost(command: Sequence[str], status: int = 0) -> Cost:
    """What one run costs, which must end with ``status``."""
    # A write for each line printed is not what users have.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    starter = [sys.executable, "-I", "-S", "-c", STARTER, *command]
    done = subprocess.run(starter, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True)
    ended, *figures = json.loads(done.stderr.splitlines()[-1])
    if ended != status:
        raise RuntimeError(f"{' '.join(command)} ended with {ended}:\n{done.stderr.decode(errors='replace')}")
    return Cost(*figures)
