"""Disk images: raw files and block devices."""

import errno
import os
import stat
from pathlib import Path

from vmspec.image import foreign
from vmspec.image.source import ImageError, kind

SECTOR = 512  # what virtio counts disks in (virtio 1.2, 5.2.4)


def opened(path: Path, writes: bool, flags: int = 0, sectors: bool = True) -> tuple[int, int]:
    """A descriptor of the image at ``path`` and its size in bytes, which are whole sectors if they must be, as those of
    a raw image. Raises ImageError."""
    flags |= os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        _check(os.stat(path).st_mode)  # noqa: PTH116 - before opening a device does whatever it does
        descriptor = os.open(path, (os.O_RDWR if writes else os.O_RDONLY) | flags)
    except (OSError, ValueError) as error:
        raise ImageError(_why(error, writes, flags)) from error
    try:
        return descriptor, _size(descriptor, sectors)
    except OSError as error:
        os.close(descriptor)
        raise ImageError(f"cannot be read: {error.strerror}") from error
    except BaseException:
        os.close(descriptor)
        raise


def _why(error: OSError | ValueError, writes: bool, flags: int) -> str:
    match getattr(error, "errno", None):
        case errno.EACCES | errno.EPERM | errno.EROFS if writes:
            return f'cannot be written: {getattr(error, "strerror", error)}; give mode = "overlay" or "ro"'
        case errno.EBUSY if flags & os.O_EXCL:
            return "is in use by this host: mounted, or part of another device"
        case errno.EINVAL if flags & os.O_DIRECT:
            return "cannot be opened with direct = true, which its file system does not have"
        case _:
            return f"cannot be opened: {getattr(error, 'strerror', None) or error}"


def _check(mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise ImageError("is a directory, not a disk image")
    if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
        raise ImageError(f"is {kind(mode)}, not a disk image")


def _size(descriptor: int, sectors: bool) -> int:
    _check(os.fstat(descriptor).st_mode)
    size = os.lseek(descriptor, 0, os.SEEK_END)  # of a block device too
    if not size:
        raise ImageError("is empty: give it a size, as truncate -s 1G does")
    if sectors and size % SECTOR:
        raise ImageError(f"has {size} bytes, which is not a multiple of {SECTOR} (whole sectors)")
    return size


def problem(path: Path, writes: bool, form: str = "raw") -> str | None:
    """Why the file at ``path`` cannot be a disk of a format, in words that follow its name; None: it can."""
    try:
        descriptor, _ = opened(path, writes, sectors=form == "raw")
    except ImageError as error:
        return str(error)
    try:
        return foreign.disk(os.pread(descriptor, SECTOR, 0), form)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    finally:
        os.close(descriptor)
