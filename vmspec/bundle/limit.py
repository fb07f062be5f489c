"""The limit of a part of the cache: folders that were not used lately are removed, unless a run uses them."""

import os
import time
from pathlib import Path

from vmspec.host.scratch import discard

LARGEST = 16 << 30  # bytes on disk of all folders together
UNUSED = 30 * 24 * 3600  # seconds without a use


def trim(home: Path, unfinished: str) -> None:
    """Remove the folders that no run has used for :data:`UNUSED`, and those used the longest ago until the rest are no
    larger than :data:`LARGEST`. A folder whose name begins with ``unfinished`` is another process's. No other process
    adds a folder meanwhile. Raises OSError."""
    since, total = time.time() - UNUSED, 0
    counted: set[tuple[int, int]] = set()
    folders = [path for path in home.iterdir() if not path.name.startswith(unfinished)]
    for folder in sorted(folders, key=lambda path: path.lstat().st_mtime, reverse=True):
        total += _size(folder, counted)
        if total > LARGEST or folder.lstat().st_mtime < since:
            discard(folder)


def _size(folder: Path, counted: set[tuple[int, int]]) -> int:
    """The bytes of a folder's files on disk, without those that were counted; those are counted now. A file has the
    same number in each folder that shares it."""
    total = 0
    for directory, _, names in os.walk(folder):
        for name in names:
            status = (Path(directory) / name).lstat()
            if (file := (status.st_dev, status.st_ino)) not in counted:
                counted.add(file)
                total += status.st_blocks * 512
    return total
