"""The right to record into a trace's files, and the files that a killed run left. Does not import pyarrow."""

import errno
import fcntl
import os
import stat
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from tracer.format.errors import TraceError
from vmspec.host.atomic import NAME_MAX
from vmspec.spec import fileuse
from vmspec.trace.files import (
    beside,
    crash_path,
    exists,
    killed_path,
    ring_path,
    stream_path,
    trace_path,
    unfinished,
)

CLOSING = 60.0  # seconds that the recorder of a killed run may take to close its trace
POLL = 0.02


def open_regular(path: Path) -> int:
    """Open a file for reading without blocking; return a descriptor, which the caller closes. Raises OSError, also if
    it is not a regular file: opening a FIFO without a writer would never end."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    raise OSError(errno.EINVAL, "it is not a regular file")


def lock(ring: Path) -> int:
    """Open a ring file and take its lock, which a recording ``vmrun`` holds. Returns the descriptor, which the caller
    closes. If that vmrun was killed, its recorder holds the lock until the trace is closed, and this waits for it.
    Raises TraceError if another process has the lock, OSError if the file cannot be opened."""
    descriptor = open_regular(ring)
    latest = time.monotonic() + CLOSING
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() < latest and killed(descriptor):
                time.sleep(POLL)
                continue
            os.close(descriptor)
            raise TraceError(f"another vmrun is recording into {trace_path(ring)} (it holds {ring})") from None


def killed(descriptor: int) -> bool:
    """Whether no living process took an open file's lock. After a kill, the recorder still has the lock and closes
    the trace. The answer comes from the kernel's list (proc_locks(5)), which may have no entry for a process that
    has died."""
    inode = os.fstat(descriptor).st_ino
    try:
        locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        owners = [int(fields[4]) for fields in locks if fields[1] == "FLOCK" and fields[5].endswith(f":{inode}")]
    except (OSError, ValueError, IndexError):
        return False  # a host without the list
    return not any(_lives(owner) for owner in owners)


def _lives(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in (b"Z", b"X")


def read_files(trace: Path) -> tuple[Path, ...]:
    """What is read of a trace: itself, and the tables beside it."""
    return trace, *beside(trace)


def keep(output: Path, reads: Iterable[Path]) -> None:
    """Raise TraceError if writing ``output`` ("-": standard output) would overwrite a file that is read for it."""
    standard = str(output) == "-"
    targets = {fileuse.opened(sys.stdout.fileno())} if standard else {fileuse.identity(output)}
    for file in reads:
        if (found := fileuse.identity(file)) is not None and found in targets:
            name = "standard output" if standard else output
            raise TraceError(f"writing {name} would overwrite {file}, which is read: write to another file")


def set_aside(path: Path) -> Path | None:
    """Rename a killed run's files at ``path`` to boot.killed.arrows and boot.killed.ring, replacing older ones.

    Returns the file to give to ``vmtrace recover``, or None if there were none. Raises TraceError if the files belong
    to a running machine or cannot be renamed, or if ``path`` is itself one of these names.
    """
    needed = (*unfinished(path), crash_path(path))
    if max(len(os.fsencode(file.name)) for file in needed) > NAME_MAX:
        raise TraceError(f"cannot record into {path}: the name is too long for those of the files beside it")
    if path.is_dir():
        raise TraceError(f"cannot record into {path}: it is a directory")
    if exists(path) and not path.is_file():
        raise TraceError(f"cannot record into {path}: it is not a file (--no-trace records nothing)")
    if not path.parent.is_dir():
        raise TraceError(
            f"cannot record into {path}: there is no directory {path.parent}; make it, or choose another place with "
            "--trace FILE"
        )
    if path.is_symlink():
        # At the end the trace is written to the link's target: check now that this is possible.
        place = Path(os.path.realpath(path)).parent
        if not os.access(place, os.W_OK | os.X_OK):
            why = "there is no such directory" if not place.is_dir() else "it cannot be written to"
            raise TraceError(f"cannot record into {path}: it is a link that leads into {place}: {why}")
    if path in (stream_path(path), ring_path(path)):
        raise TraceError(f"{path}: vmrun uses this name while it records: give the trace a name that ends in .arrow")
    killed = killed_path(path)
    moves = dict(zip(unfinished(path), unfinished(killed), strict=True))
    for old in moves:
        if exists(old) and not old.is_file():  # for example a pipe: no run has left that
            raise TraceError(f"cannot record into {path}: {old}, whose name is needed, is not a regular file")
    try:
        if not any(exists(old) for old in moves):
            return None
        descriptor = lock(ring_path(path)) if exists(ring_path(path)) else None
        try:
            if not any(exists(old) for old in moves):  # its recorder has closed the trace by now
                return None
            for old, new in moves.items():
                # A stream and a ring of different runs must never have one name.
                new.unlink(missing_ok=True)
                if exists(old):
                    old.rename(new)
        finally:
            if descriptor is not None:
                os.close(descriptor)
    except OSError as error:
        raise TraceError(f"cannot rename the files of an earlier run at {path}: {error}") from error
    return next(new for new in reversed(moves.values()) if exists(new))
