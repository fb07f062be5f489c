"""The driver's side of a split virtqueue (virtio 1.2, 2.7), written from the specification alone, in a guest's RAM."""

import struct
from collections.abc import Sequence
from typing import NamedTuple

from runner.memory import GuestMemory

NEXT, WRITE, INDIRECT = 1, 2, 4
NO_INTERRUPT = 1
INDIRECT_DESC, EVENT_IDX, VERSION_1 = 1 << 28, 1 << 29, 1 << 32


class Buffer(NamedTuple):
    """A buffer of the guest's; ``write``: for the device to write."""

    address: int
    length: int
    write: bool = False


class DriverQueue:
    """A queue's three areas in memory, from ``at`` on; the driver's words are kept here, as a driver keeps them."""

    def __init__(self, memory: GuestMemory, size: int, at: int = 0x1000) -> None:
        self.memory, self.size = memory, size
        self.descriptors = at
        self.available = at + 16 * size
        self.used = -(-(self.available + 6 + 2 * size) // 4) * 4
        self.end = self.used + 6 + 8 * size
        self.free = list(range(size))
        self.index = 0  # of the available ring
        self.seen = 0  # in the used ring
        self.chains: dict[int, list[int]] = {}

    @property
    def areas(self) -> tuple[int, int, int]:
        """Where the driver tells the device that the areas are: descriptors, available ring, used ring."""
        return self.descriptors, self.available, self.used

    def describe(self, index: int, address: int, length: int, flags: int = 0, following: int = 0) -> None:
        """Write a descriptor, whatever is in it."""
        self.memory.write(self.descriptors + 16 * index, descriptor(address, length, flags, following))

    def offer(self, head: int) -> None:
        """Put a head into the available ring, and publish it."""
        self.memory.write(self.available + 4 + 2 * (self.index % self.size), struct.pack("<H", head & 0xFFFF))
        self.index = self.index + 1 & 0xFFFF
        self.memory.write(self.available + 2, struct.pack("<H", self.index))

    def add(self, buffers: Sequence[Buffer], table: int | None = None) -> int:
        """Offer a chain, by an indirect table at ``table`` if that is given; return its head."""
        if table is not None:
            self.memory.write(table, self._table(buffers, list(range(len(buffers)))))
            slots = [self.free.pop(0)]
            self.describe(slots[0], table, 16 * len(buffers), INDIRECT)
        else:
            slots = [self.free.pop(0) for _ in buffers]
            entries = self._table(buffers, slots)
            for at, slot in enumerate(slots):
                self.memory.write(self.descriptors + 16 * slot, entries[16 * at : 16 * at + 16])
        self.chains[slots[0]] = slots
        self.offer(slots[0])
        return slots[0]

    @staticmethod
    def _table(buffers: Sequence[Buffer], slots: Sequence[int]) -> bytes:
        last = len(buffers) - 1
        return b"".join(
            descriptor(
                buffer.address,
                buffer.length,
                (WRITE if buffer.write else 0) | (NEXT if at < last else 0),
                slots[at + 1] if at < last else 0,
            )
            for at, buffer in enumerate(buffers)
        )

    def done(self) -> list[tuple[int, int]]:
        """What the device has put back since the last call: head and written bytes. Their descriptors are free."""
        (index,) = struct.unpack("<H", self.memory.read(self.used + 2, 2))
        found = []
        while self.seen != index:
            head, written = struct.unpack("<II", self.memory.read(self.used + 4 + 8 * (self.seen % self.size), 8))
            self.free += self.chains.pop(head)
            found.append((head, written))
            self.seen = self.seen + 1 & 0xFFFF
        return found

    def interrupt_after(self, index: int) -> None:
        """Set used_event: an interrupt once the used ring's idx passes ``index``."""
        self.memory.write(self.available + 4 + 2 * self.size, struct.pack("<H", index & 0xFFFF))

    def flags(self, value: int) -> None:
        """Set the available ring's flags."""
        self.memory.write(self.available, struct.pack("<H", value))

    def asked(self) -> tuple[int, int]:
        """The used ring's flags and avail_event: which notifications the device asks for."""
        flags = int.from_bytes(self.memory.read(self.used, 2), "little")
        return flags, int.from_bytes(self.memory.read(self.used + 4 + 8 * self.size, 2), "little")


def descriptor(address: int, length: int, flags: int = 0, following: int = 0) -> bytes:
    """A descriptor (2.7.5)."""
    return struct.pack("<QIHH", address, length, flags, following)
