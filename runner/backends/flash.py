"""The file with the contents of a flash memory."""

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from runner.backends.errors import BackendError
from vmspec.host.atomic import replaced

PIECE = 1 << 20  # bytes that are saved at once


class Image(NamedTuple):
    """See :class:`runner.devices.services.FlashImage`."""

    fd: int

    def read(self, at: int, size: int) -> bytes:
        """Bytes that the file has lost read as zeros."""
        return os.pread(self.fd, size, at).ljust(size, b"\0")

    def write(self, at: int, data: bytes) -> None:
        """Write them, whole."""
        if os.pwrite(self.fd, data, at) != len(data):
            raise OSError(0, "it was written only in part")

    def changes(self) -> Iterator[tuple[int, bytes]]:
        """All of it."""
        size = os.fstat(self.fd).st_size
        for at in range(0, size, PIECE):
            yield at, self.read(at, min(PIECE, size - at))

    def take_back(self, at: int, data: bytes) -> None:
        """Have these bytes there. Raises OSError."""
        if at + len(data) > os.fstat(self.fd).st_size:
            raise OSError(errno.EINVAL, "the flash memory is smaller")
        self.write(at, data)


def made(path: Path, template: Path) -> None:
    """Make a file as a copy of another one, unless it exists. Raises BackendError."""
    if path.exists():
        return
    try:
        with template.open("rb") as source, replaced(path) as out:
            shutil.copyfileobj(source, out)
    except OSError as error:
        raise BackendError("path", f"cannot be made as a copy of {template}: {error.strerror}") from error


def opened(fd: int, size: int, planned: int, copy: int | None) -> Image:
    """The image in an open file of ``size`` bytes, which must be as many as were ``planned``. ``copy`` is an empty file
    for a copy of it that is written instead. Raises BackendError."""
    if size != planned:
        raise BackendError("path", f"has {size} bytes, and had {planned} when the plan was made")
    if copy is not None:
        os.pwrite(copy, os.pread(fd, size, 0), 0)
    return Image(fd if copy is None else copy)
