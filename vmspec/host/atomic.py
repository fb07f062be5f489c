"""Files that appear whole and on disk, or not at all. Does not import pyarrow."""

import errno
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

NAME_MAX = 255  # bytes, on all of Linux's file systems (linux/limits.h)
MODE = 0o666  # less the umask
# The errors of a file system, or an old kernel, without unnamed files.
NO_TMPFILE = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT)


@contextmanager
def replaced(path: Path) -> Iterator[BinaryIO]:
    """A file that becomes ``path`` when the block ends well, and is removed when it does not. A link is followed.

    It has no name until it is whole (O_TMPFILE), so a killed process leaves nothing. On a file system without that, it
    has a name of its own that ends in .tmp. Raises OSError; FileExistsError if a device or a pipe would be replaced.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not (target.is_file() or target.is_dir()):  # the rename itself rejects a directory
        raise FileExistsError(errno.EEXIST, "it exists, and is not a file")
    directory = os.open(target.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    name: str | None = None
    try:
        if (descriptor := _nameless(directory)) is None:
            descriptor, name = _free(target.name, lambda name: _created(name, directory))
        with os.fdopen(descriptor, "wb", buffering=1 << 16) as out:
            yield out
            out.flush()
            os.fsync(descriptor)  # before the rename, and before the caller deletes its source
            if name is None:
                # linkat(2) follows this link only if it is given a directory
                link = f"/proc/self/fd/{descriptor}"
                _, name = _free(target.name, lambda name: os.link(link, name, dst_dir_fd=directory))
        os.rename(name, target.name, src_dir_fd=directory, dst_dir_fd=directory)
        name = None
    finally:
        if name is not None:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=directory)
        os.close(directory)


def _nameless(directory: int) -> int | None:
    """A new file without a name, None if the system has no such files."""
    try:
        descriptor = os.open(".", os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, MODE, dir_fd=directory)
    except OSError as error:
        if error.errno in NO_TMPFILE:
            return None
        raise
    if Path(f"/proc/self/fd/{descriptor}").is_symlink():  # it could get no name without /proc
        return descriptor
    os.close(descriptor)
    return None


def _created(name: str, directory: int) -> int:
    return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE, dir_fd=directory)


def _free(name: str, make: Callable[[str], Any]) -> tuple[Any, str]:
    """The result of ``make`` for the first unused name like ``name``, and that name."""
    for number in itertools.count(os.getpid()):
        suffix = f".{number}.tmp"
        # If the name is too long, a part of it.
        tried = os.fsdecode(os.fsencode(name)[: NAME_MAX - len(suffix)]) + suffix
        with suppress(FileExistsError):
            return make(tried), tried
    raise AssertionError("some name is free")
