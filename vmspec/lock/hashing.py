"""The SHA-256 of a file that may be a large disk: as ``sha256sum`` computes it, without reading holes."""

import errno
import hashlib
import os
from collections.abc import Callable, Iterator

from vmspec.image.digest import CHUNK

ZEROS = memoryview(bytes(CHUNK))
# The errors of a file system, or a device, that does not say where holes are.
NO_HOLES = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)


def sha256(descriptor: int, size: int, advance: Callable[[int], None]) -> str:
    """The hash of the first ``size`` bytes of an open file, whose position it moves; holes count as the zeros that they
    read as. ``advance`` is called with each number of bytes that are done. Raises OSError, also for a file that has
    become shorter."""
    hashed = hashlib.sha256()
    for start, end, is_data in extents(descriptor, size):
        at = start
        while at < end:
            piece = os.pread(descriptor, min(CHUNK, end - at), at) if is_data else ZEROS[: end - at]
            if not piece:
                raise OSError(errno.EIO, "it has become shorter")
            hashed.update(piece)
            at += len(piece)
            advance(len(piece))
    return hashed.hexdigest()


def extents(descriptor: int, size: int) -> Iterator[tuple[int, int, bool]]:
    """The parts of a file: start, end, and whether it has data; a hole has none. Moves the file's position."""
    at = 0
    while at < size:
        try:
            start = min(os.lseek(descriptor, at, os.SEEK_DATA), size)
        except OSError as error:
            if error.errno in NO_HOLES:
                yield at, size, True
                return
            if error.errno != errno.ENXIO:
                raise
            start = size  # nothing but a hole is left
        if start > at:
            yield at, start, False
        if start == size:
            return
        at = min(os.lseek(descriptor, start, os.SEEK_HOLE), size)
        yield start, at, True
