"""Bounded reads of an image file: headers are read at their place, a file is never read whole."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from vmspec.host.printable import PrintableError

# The largest header: no header of a supported format comes near it.
READ_MAX = 1 << 20


class ImageError(PrintableError):
    """An image file cannot be used; the message says why, without the file's name."""


class Version(NamedTuple):
    """Identifies a file and its content: writing to the file changes the times (ns)."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int
    links: int


def version(file: int | Path) -> Version:
    """The version of a file, open or by its path. Raises OSError."""
    status = os.stat(file)  # noqa: PTH116 - of a descriptor too
    return Version(
        status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_nlink
    )


class Source:
    """An open image file and its size in bytes. Reads past the end raise :class:`ImageError`."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file = file
        self.size = size

    @property
    def version(self) -> Version:
        """The file's version now."""
        return version(self.file.fileno())

    def read(self, offset: int, size: int, what: str) -> bytes:
        """Exactly ``size`` bytes at ``offset``; ``what`` names them in the error."""
        if size > READ_MAX:
            raise ImageError(f"{what} of {size} bytes is larger than any real one")
        if offset + size > self.size:
            raise ImageError(f"truncated: {what} ends at byte {offset + size}, the file has {self.size}")
        data = self._at(offset, size)
        if len(data) != size:
            raise ImageError(f"truncated: {what} could not be read whole")
        return data

    def start(self, size: int) -> bytes:
        """The first ``size`` bytes, or all if there are fewer."""
        return self._at(0, min(size, self.size))

    def _at(self, offset: int, size: int) -> bytes:
        try:
            self.file.seek(offset)
            return self.file.read(size)
        except OSError as error:
            raise ImageError(f"cannot be read: {error.strerror}") from error


@contextmanager
def opened(path: Path) -> Iterator[Source]:
    """The file at ``path``, which must be a regular one."""
    try:
        file = open(path, "rb", buffering=0, opener=_open)  # noqa: SIM115 - closed below
    except IsADirectoryError as error:
        raise ImageError("is a directory, not a file") from error
    except (OSError, ValueError) as error:
        raise ImageError(f"cannot be opened: {getattr(error, 'strerror', None) or error}") from error
    with file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(f"is {kind(status.st_mode)}, not a regular file")
        if not status.st_size:
            raise ImageError("is empty")
        yield Source(file, status.st_size)


def kind(mode: int) -> str:
    """The kind of a file that is not a regular one, by its mode."""
    match stat.S_IFMT(mode):
        case stat.S_IFIFO:
            return "a named pipe"
        case stat.S_IFSOCK:
            return "a socket"
        case _:
            return "a device"


def _open(path: str, flags: int) -> int:
    # Without O_NONBLOCK opening a FIFO would wait for a writer.
    return os.open(path, flags | os.O_NONBLOCK)
