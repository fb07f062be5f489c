"""Unpacks the compressed kernel of a bzImage on the host, so that the guest need not do it instruction by instruction.

A cache keeps unpacked kernels, and other parts of image files, by the SHA-256 of the part's bytes in the file:

- ``kernels/<sha256>``: the unpacked part, such as an ELF kernel. Its modification time is derived from the hash and
  set last, so that any later write shows: an entry with another time or size does not count. Blocks of zeros are holes
  in the file.
- ``kernels/by-file/<identity>``: the hash of the part at an offset of a file with that device, inode, size and times,
  which spares the 10-20 ms of hashing it again.

The cache may be deleted at any time, and a new entry removes old ones (:mod:`vmspec.image.limit`). If it cannot be
written, a directory of the user's in the place for temporary files replaces it.
"""

import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from vmspec.host import cache
from vmspec.host.printable import PrintableError
from vmspec.image import compression
from vmspec.image.bzimage import BzImage
from vmspec.image.compression import Payload
from vmspec.image.source import ImageError, Source

# Linux's link address space for a kernel (KERNEL_IMAGE_SIZE with KASLR); no real payload unpacks to more.
UNPACKED_MAX = 1 << 30
HOLE = 1 << 16  # zeros are left out in blocks of this many bytes


class Part(NamedTuple):
    """A part of an image file: its place there, in bytes; how it is unpacked, None: its format is unknown; the bytes
    that it unpacks to, None: not known."""

    offset: int
    length: int
    unpack: Callable[[], Iterator[bytes] | None]
    size: int | None = None


class CannotUnpackError(PrintableError):
    """The payload cannot be unpacked here, but the kernel may unpack itself; the message says why."""


def unpacked(source: Source, image: BzImage) -> Path:
    """The cached, unpacked payload of the bzImage in ``source``.

    Raises :class:`CannotUnpackError`, and :class:`ImageError` if the payload is damaged.
    """
    if not image.payload_length:
        version = f"{image.version >> 8}.{image.version & 0xFF:02}"
        raise CannotUnpackError(f"boot protocol {version} does not say where the payload is")
    # The build appends the unpacked size to the payload (boot.rst, payload_length); a gzip payload contains it.
    end = image.payload_offset + image.payload_length
    size = int.from_bytes(source.read(end - 4, 4, "the size of the kernel"), "little")
    if not 0 < size <= UNPACKED_MAX:
        raise ImageError(f"damaged: the compressed kernel says that it unpacks to {size} bytes")
    place = image.payload_offset, image.payload_length
    return cached(source, Part(*place, lambda: compression.unpack(source, *place), size))


def cached(source: Source, part: Part) -> Path:
    """The cached, unpacked part of an image file.

    Raises :class:`CannotUnpackError`, and :class:`ImageError` if the part is damaged.
    """
    error: OSError | None = None
    for directory in cache.places("kernels"):
        try:
            return _cached(directory, source, part)
        except ImportError as missing:
            raise CannotUnpackError(f"the Python package {missing.name} is not installed") from missing
        except OSError as failed:
            error = failed
    raise CannotUnpackError(f"there is no place for the unpacked kernel: {error}")


def _cached(directory: Path, source: Source, part: Part) -> Path:
    """The entry for a part in one cache directory; it is made if missing. OSError: this directory cannot be used."""
    cache.make(directory)
    index = directory / "by-file" / f"{_identity(source)}-{part.offset:x}"
    digest = _indexed(index)
    if digest is None:
        digest = _hash(source, part)
        _remember(index, digest, source)
    entry = directory / digest
    if not _intact(entry, digest, part.size):
        from vmspec.image.limit import trim  # only when the cache grows

        _unpack(entry, digest, part)
        trim(directory)
    return entry


def _identity(source: Source) -> str:
    return "-".join(f"{number:x}" for number in source.version[:5])  # without the number of links


def _indexed(index: Path) -> str | None:
    try:
        digest = index.read_bytes()
    except FileNotFoundError:
        return None
    valid = len(digest) == 64 and all(byte in b"0123456789abcdef" for byte in digest)
    return digest.decode() if valid else None


def _remember(index: Path, digest: str, source: Source) -> None:
    if time.time_ns() - source.version.changed < cache.SETTLED_NS:
        return
    index.parent.mkdir(mode=0o700, exist_ok=True)
    index.write_text(digest)  # a torn write is no valid hash


def _hash(source: Source, part: Part) -> str:
    from hashlib import sha256  # loads OpenSSL: not if the index knows the file

    hashed = sha256()
    for chunk in iter(Payload(source, part.offset, part.length).read, b""):
        hashed.update(chunk)
    return hashed.hexdigest()


def _seal(digest: str) -> int:
    """The modification time of an entry, in seconds; long ago, so that no other write sets it."""
    return int(digest[:7], 16)


def _intact(entry: Path, digest: str, size: int | None) -> bool:
    try:
        status = entry.lstat()
    except FileNotFoundError:
        return False
    return (
        stat.S_ISREG(status.st_mode) and size in (None, status.st_size) and status.st_mtime_ns == _seal(digest) * 10**9
    )


def _unpack(entry: Path, digest: str, part: Part) -> None:
    from tempfile import mkstemp

    blocks = part.unpack()
    if blocks is None:
        raise CannotUnpackError("its compression format is unknown")
    descriptor, name = mkstemp(dir=entry.parent)
    try:
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            written = _write(file.fileno(), blocks, part.size or UNPACKED_MAX)
            if written > UNPACKED_MAX:
                raise ImageError(f"unpacks to more than {UNPACKED_MAX} bytes: no kernel does")
            if part.size not in (None, written):
                raise ImageError(f"damaged: the compressed kernel unpacks to {written} bytes, not to {part.size}")
            os.ftruncate(file.fileno(), written)
            os.fsync(file.fileno())
        os.utime(name, (time.time(), _seal(digest)))
        Path(name).replace(entry)
    except BaseException:
        Path(name).unlink()
        raise


def _write(file: int, blocks: Iterator[bytes], size: int) -> int:
    """Write blocks with holes for zeros; return the number of bytes, at most one block more than ``size``."""
    at = 0
    zeros = bytes(HOLE)
    for block in blocks:
        for start in range(0, len(block), HOLE):
            part = block[start : start + HOLE]
            if part != zeros[: len(part)]:
                _write_all(file, part, at + start)
        at += len(block)
        if at > size:
            break
    return at


def _write_all(file: int, data: bytes, at: int) -> None:
    while data:
        written = os.pwrite(file, data, at)
        data, at = data[written:], at + written
