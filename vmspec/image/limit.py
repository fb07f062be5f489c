"""The limit of the cache of unpacked kernels: a developer makes many."""

import os
import time
from contextlib import suppress
from pathlib import Path

LARGEST = 4 << 30  # bytes on disk of all entries together
UNUSED = 30 * 24 * 3600  # seconds without a use
IN_USE = 24 * 3600  # seconds; a run may be about to open an entry; file systems date reads to a day (relatime)
HASH = 64  # characters of an entry's name


def trim(directory: Path) -> None:
    """Remove the entries that nobody has read for :data:`UNUSED`, and those read the longest ago until the rest are no
    larger than :data:`LARGEST`; also what killed processes have left. What was read within :data:`IN_USE` stays.
    Entries that cannot be removed stay, for the next call."""
    now, total = time.time(), 0
    with suppress(OSError):
        for path, status in sorted(_files(directory), key=lambda file: file[1].st_atime, reverse=True):
            total += status.st_blocks * 512
            idle = now - status.st_atime
            if idle > UNUSED or (idle > IN_USE and (total > LARGEST or len(path.name) != HASH)):
                path.unlink()
        for index, status in _files(directory / "by-file"):
            if now - status.st_mtime > UNUSED:  # its file's hash is taken again
                index.unlink()


def _files(directory: Path) -> list[tuple[Path, os.stat_result]]:
    found = []
    for path in directory.iterdir():
        with suppress(FileNotFoundError):  # another process removes too
            found.append((path, path.lstat()))
    return [(path, status) for path, status in found if not path.is_dir()]
