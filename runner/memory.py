"""Guest RAM: one anonymous mapping that the plan's slots cut into guest-physical ranges."""

import mmap
from contextlib import suppress

from runner.native._native import ffi
from vmspec.plan.calls import Slot

MAP_NORESERVE = 0x4000  # Linux x86; the mmap module has no name for it
HUGE = 2 << 20  # bytes of a huge page of x86-64


class GuestMemory:
    """Guest-physical reads and writes over the RAM mapping.

    ``address`` is where the RAM begins in this process, as KVM takes it; a slot's bytes are at its ``offset`` from
    there. Nothing outside a slot is reachable: every method raises ``ValueError`` naming the range that is not RAM.
    OSError: the host cannot map so much.

    The RAM begins at a multiple of 2 MiB, as guest-physical memory does. KVM maps a huge page into the guest only where
    host and guest addresses agree modulo its size (Linux, Documentation/virt/kvm/api.rst, 4.35); hosts before Linux 6.7
    align no anonymous mapping by themselves.
    """

    def __init__(self, slots: tuple[Slot, ...]) -> None:
        self.slots = slots
        size = sum(slot.size for slot in slots)
        # RAM is committed only as the guest touches it, and what lies around the aligned part never.
        self._mapping = mmap.mmap(-1, size + HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE)
        with ffi.from_buffer(self._mapping) as buffer:
            start = int(ffi.cast("uintptr_t", buffer))
        self.address = -(-start // HUGE) * HUGE
        self._view = memoryview(self._mapping)[self.address - start :][:size]

    def enlarge_pages(self) -> None:
        """Have what is touched from now on in pages of 2 MiB: fewer faults while the guest runs.

        Not for what is loaded before: to make such a page ready takes longer than to fill it, most of all on a host
        that is itself a guest.
        """
        with suppress(OSError):  # EINVAL: a host without them
            self._mapping.madvise(mmap.MADV_HUGEPAGE)

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
        self._mapping.close()
