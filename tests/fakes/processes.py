"""Processes from /proc."""

import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

LATEST = 30.0  # seconds, on a host that is busy


def parent(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def children(process: int) -> list[int]:
    """The processes that another has started; also those that have ended and were not waited for."""
    return [int(path.name) for path in Path("/proc").glob("[0-9]*") if parent(int(path.name)) == process]


def eventually(condition: Callable[[], object], what: str) -> None:
    latest = time.monotonic() + LATEST
    while not condition():
        assert time.monotonic() < latest, what
        time.sleep(0.01)


def recorder_of(process: subprocess.Popen[bytes]) -> int:
    """The recorder of a vmrun, once it has one."""
    eventually(lambda: children(process.pid), "there is no recorder")
    [recorder] = children(process.pid)
    return recorder


def gone(process: int) -> bool:
    """Whether it has ended; a zombie is one that somebody else has to wait for."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()[0] == b"Z"
    return True
