"""The disk behind a virtio block device: an open image and what C does with it."""

import errno
import fcntl
import mmap
import os
import stat
from collections.abc import Iterator
from typing import Any

from runner.backends.errors import BackendError
from runner.devices.services import Native
from runner.native._native import ffi, lib
from vmspec.image.disk import SECTOR
from vmspec.trace import requests

BLKSSZGET, BLKPBSZGET = 0x1268, 0x127B  # linux/fs.h: the sizes of logical and physical blocks
PAGE = 4096
MAP_NORESERVE = 0x4000  # asm-generic/mman.h; Python does not name it
KINDS = tuple(requests.KINDS)
SCANNED = 4096  # bytes of the bits of changed sectors that are looked at together
LONGEST = 4096  # sectors that are saved in one piece


class Disk:
    """See :class:`runner.devices.services.Disk`. ``overlay`` is a file of the same size, all zeros, None: the guest
    writes to the image if it may. ``block`` is the size of a logical block, None: the
    smallest. Raises BackendError if it cannot have such blocks."""

    def __init__(
        self, descriptor: int, size: int, block: int | None, writable: bool, direct: bool, overlay: int | None = None
    ) -> None:
        self.sectors = size // SECTOR
        self.read_only = not writable and overlay is None
        least, self.physical_block = blocks(descriptor, direct)
        self.block = block or least
        if self.block < least:
            raise BackendError("block-size", f"on this host the image needs blocks of at least {least} bytes")
        if size % self.block:
            raise BackendError("block-size", f"the image has {size} bytes, which is not a multiple of {self.block}")
        self._blk = ffi.new("struct blk *")
        disk = self._blk.disk
        disk.fd, disk.overlay, disk.sectors = descriptor, -1, self.sectors
        disk.writable = not self.read_only
        disk.alignment = least if direct else 1
        if overlay is not None:
            # A bit for each sector; pages come as they are touched.
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE
            self._changed = mmap.mmap(-1, -(-self.sectors // 64) * 8, flags=flags)
            disk.overlay, disk.changed = overlay, ffi.cast("uint64_t *", ffi.from_buffer(self._changed))
        lib.blk_init(self._blk)
        self.zero_limits = lib.BLK_ZERO_SECTORS, lib.BLK_ZERO_RANGES
        self.discard_limits = lib.BLK_DISCARD_SECTORS, lib.BLK_DISCARD_RANGES

    def native(self, identification: bytes) -> Native:
        """How C serves it."""
        ffi.buffer(self._blk.id)[:] = identification.ljust(len(self._blk.id), b"\0")
        return Native(ffi.addressof(lib, "blk_device"), self._blk)

    def changes(self) -> Iterator[tuple[int, bytes]]:
        """What the guest has written to the overlay: offsets and bytes, of whole sectors."""
        overlay, start, end = self._blk.disk.overlay, 0, 0
        for at in range(0, len(self._changed), SCANNED):
            block = self._changed[at : at + SCANNED]
            if not any(block):
                continue
            found = ((byte, bit) for byte, bits in enumerate(block) for bit in range(8) if bits >> bit & 1)
            for byte, bit in found:
                sector = 8 * (at + byte) + bit
                if sector == end and end - start < LONGEST:
                    end += 1
                    continue
                yield from _piece(overlay, start, end)
                start, end = sector, sector + 1
        yield from _piece(overlay, start, end)

    def take_back(self, at: int, data: bytes) -> None:
        """Have the overlay contain these sectors. Raises OSError."""
        first, count = at // SECTOR, len(data) // SECTOR
        if at % SECTOR or len(data) % SECTOR or first + count > self.sectors:
            raise OSError(errno.EINVAL, "the disk has no such sectors")
        if os.pwrite(self._blk.disk.overlay, data, at) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        for sector in range(first, first + count):
            self._changed[sector // 8] |= 1 << sector % 8

    def set_stable(self, stable: bool) -> None:
        """Whether each write is durable before it is answered."""
        self._blk.disk.stable = stable

    @property
    def stable(self) -> bool:
        """What :meth:`set_stable` was told."""
        return bool(self._blk.disk.stable)

    def failure(self) -> str | None:
        """What the host could not do since the last call, None: nothing."""
        kind: Any = ffi.new("uint32_t *")
        error = lib.blk_failed(self._blk, kind)
        if not error:
            return None
        what = "its file has become shorter" if error == errno.ENODATA else os.strerror(error)
        return f"{KINDS[kind[0]]} failed on the host: {what}"


def _piece(overlay: int, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Sectors of an overlay, if there are any."""
    if start < end:
        yield start * SECTOR, os.pread(overlay, (end - start) * SECTOR, start * SECTOR)


def blocks(descriptor: int, direct: bool) -> tuple[int, int]:
    """The smallest logical block that the image can have, and the block that its storage works with, in bytes. That of
    a file is the same on each host, whatever its file system says, so that the guest sees the same disk."""
    if stat.S_ISBLK(os.fstat(descriptor).st_mode):
        logical, physical = (_ioctl(descriptor, request) for request in (BLKSSZGET, BLKPBSZGET))
        return logical, max(logical, physical)
    return _direct_block(descriptor) if direct else SECTOR, PAGE


def _ioctl(descriptor: int, request: int) -> int:
    return int.from_bytes(fcntl.ioctl(descriptor, request, bytes(4)), "little")


def _direct_block(descriptor: int) -> int:
    """The smallest size that O_DIRECT takes here."""
    with mmap.mmap(-1, PAGE) as page, memoryview(page) as view:
        for size in (SECTOR, 1024, 2048):
            try:
                with view[:size] as piece:
                    os.preadv(descriptor, [piece], size)
                return size
            except OSError as error:
                if error.errno != errno.EINVAL:
                    break
    return PAGE
