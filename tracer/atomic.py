"""Files that appear whole and on disk, or not at all. Imports no pyarrow."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAME_MAX = 255  # bytes, of all of Linux's file systems (linux/limits.h)


@contextmanager
def replaced(path: Path, suffix: str) -> Iterator[Path]:
    """The path to write to, ``path`` with a suffix, which is renamed to it when the block ends well, and deleted when
    it does not. What a link leads to is meant, not the link.

    Raises OSError; FileExistsError where a device or a pipe would be replaced.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not (target.is_file() or target.is_dir()):  # the rename itself refuses a directory
        raise FileExistsError(errno.EEXIST, "it exists, and is not a file")
    # Where a name has no room for more, a part of it.
    name = os.fsencode(target.name)[: NAME_MAX - len(suffix)]
    temporary = target.with_name(os.fsdecode(name) + suffix)
    temporary.unlink(missing_ok=True)  # what a killed process left, or a link that would be followed
    try:
        yield temporary
        _sync(temporary)  # before the rename, and before the caller deletes what it was made from
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
