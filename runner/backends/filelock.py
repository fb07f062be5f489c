"""Locks on disk images, which QEMU and its tools respect, and theirs, which vmrun respects.

QEMU's locks (block/file-posix.c, "raw_apply_lock_bytes") are shared locks of an open file description on single bytes
of the image: byte 100 + n says that its user has permission n, byte 200 + n that it lets nobody else have it. Whoever
takes such locks then looks whether another has one that contradicts. The user of a disk of a guest reads what must be
consistent, and lets nobody else write or resize.
"""

import errno
import fcntl
import os
import struct
from pathlib import Path

PERMISSION, DENIAL = 100, 200
READ, WRITE, RESIZE = 0, 1, 3  # BLK_PERM_CONSISTENT_READ, BLK_PERM_WRITE, BLK_PERM_RESIZE
FLOCK = struct.Struct("hhqqi4x")  # struct flock of x86-64: type, whence, start, length, pid
UNSUPPORTED = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


def locked(descriptor: int, writes: bool) -> str | None:
    """Lock an open image until it is closed; return who has it in a way that excludes that, None: nobody.

    A file system without locks has none, and nobody is found there."""
    permissions = (READ, WRITE) if writes else (READ,)
    try:
        for byte in (*(PERMISSION + n for n in permissions), DENIAL + WRITE, DENIAL + RESIZE):
            _call(descriptor, fcntl.F_OFD_SETLK, fcntl.F_RDLCK, byte)
        opposed = [PERMISSION + WRITE, PERMISSION + RESIZE, *(DENIAL + n for n in permissions)]
        conflict = any(_call(descriptor, fcntl.F_OFD_GETLK, fcntl.F_WRLCK, byte) for byte in opposed)
    except OSError as error:
        if error.errno in UNSUPPORTED:
            return None
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        conflict = True  # an exclusive lock: another program's way
    return _holder(descriptor) if conflict else None


def _call(descriptor: int, command: int, kind: int, byte: int) -> bool:
    """Whether another has a lock there."""
    answer = fcntl.fcntl(descriptor, command, FLOCK.pack(kind, os.SEEK_SET, byte, 1, 0))
    return command == fcntl.F_OFD_GETLK and FLOCK.unpack(answer)[0] != fcntl.F_UNLCK


def _holder(descriptor: int) -> str:
    """The process that has a lock on an open file. Such locks have no owner, but show with descriptors (proc(5))."""
    status = os.fstat(descriptor)
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            for open_file in (process / "fd").iterdir():
                if process.name == str(os.getpid()) and open_file.name == str(descriptor):
                    continue
                found = open_file.stat()
                if (found.st_dev, found.st_ino) == (status.st_dev, status.st_ino) and "\nlock:" in (
                    process / "fdinfo" / open_file.name
                ).read_text():
                    return f"{(process / 'comm').read_text().strip()}, pid {process.name}"
        except OSError:
            continue  # it has ended, or is another user's
    return "another process, which cannot be seen"
