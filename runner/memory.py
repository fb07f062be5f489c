"""Guest RAM: one anonymous mapping that the plan's slots cut into guest-physical ranges."""

import mmap
from contextlib import suppress

from vmspec.plan import Slot

MAP_NORESERVE = 0x4000  # Linux x86; the mmap module has no name for it


class GuestMemory:
    """Guest-physical reads and writes over the RAM mapping.

    ``buffer`` is the whole mapping; a slot's bytes are at its ``offset``. Nothing outside a slot is reachable:
    every method raises ``ValueError`` naming the range that is not RAM. OSError: the host cannot map so much.
    """

    def __init__(self, slots: tuple[Slot, ...]) -> None:
        self.slots = slots
        size = sum(slot.size for slot in slots)
        # RAM is committed only as the guest touches it.
        self.buffer = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE)
        self._view = memoryview(self.buffer)

    def enlarge_pages(self) -> None:
        """Have what is touched from now on in pages of 2 MiB: fewer faults while the guest runs.

        Not for what is loaded before: to make such a page ready takes longer than to fill it, most of all on a host
        that is itself a guest.
        """
        with suppress(OSError):  # EINVAL: a host without them
            self.buffer.madvise(mmap.MADV_HUGEPAGE)

    def view(self, address: int, size: int) -> memoryview:
        """A writable view of guest RAM, which must lie within one slot."""
        for slot in self.slots:
            if slot.start <= address and 0 <= size <= slot.start + slot.size - address:
                at = slot.offset + address - slot.start
                return self._view[at : at + size]
        raise ValueError(f"{address:#x}..{address + size:#x} is not guest RAM")

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Copy bytes into guest RAM."""
        with self.view(address, len(data)) as view:
            view[:] = data

    def read(self, address: int, size: int) -> bytes:
        """Copy bytes out of guest RAM."""
        with self.view(address, size) as view:
            return bytes(view)

    def close(self) -> None:
        """Unmap the RAM. Views handed out before must be gone: BufferError."""
        self._view.release()
        self.buffer.close()
