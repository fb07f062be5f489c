"""MSI-X (PCI Local Bus 3.0, 6.8.2 and 6.8.3): a table of messages, with a mask and a pending bit for each."""

import struct
from collections.abc import Callable

from runner.devices.services import MessageInterrupt
from runner.devices.state import State, StateError, bits, flag
from vmspec.registers import pci as R

ENTRY = struct.Struct("<QII")  # message address, message data, vector control


class VectorState(State):
    """A vector of the table."""

    address: int = bits(((1 << 64) - 1) & ~3)
    data: int = bits((1 << 32) - 1)
    masked: bool = flag()
    pending: bool = flag()


class Vector:
    """A vector: what its message is, and whether it may be sent."""

    def __init__(self, message: MessageInterrupt) -> None:
        self.message = message
        self.routed: tuple[int, int] | None = None  # what the message was last set to
        self.clear()

    def clear(self) -> None:
        """Return to the state after power-on: masked (6.8.2.9)."""
        self.address = self.data = 0
        self.masked, self.pending = True, False


class MSIX:
    """The vectors of a function. A message that may not be sent now is pending, and is sent once it may be.

    ``live`` is whether the function may send messages at all: MSI-X is enabled, the function's mask is clear and the
    function is a bus master.
    """

    def __init__(self, count: int, message: Callable[[], MessageInterrupt]) -> None:
        self.vectors = [Vector(message()) for _ in range(count)]
        self.enabled = self.live = False

    def control(self, enabled: bool, masked: bool, master: bool) -> None:
        """The function's own bits have changed, or may have."""
        self.enabled, self.live = enabled, enabled and not masked and master
        for vector in self.vectors:
            self._update(vector)

    def interrupt(self, number: int) -> None:
        """Send a vector's message; nothing without MSI-X, or if there is no such vector."""
        if self.enabled and number < len(self.vectors):
            self.vectors[number].pending = True
            self._update(self.vectors[number])

    def event(self, number: int) -> int | None:
        """The eventfd that sends a vector's message, None: nothing does, or not yet."""
        return self.vectors[number].message.eventfd() if number < len(self.vectors) else None

    def sends(self, number: int) -> bool:
        """Whether a message would not be pending now."""
        return number >= len(self.vectors) or (self.live and not self.vectors[number].masked)

    def _update(self, vector: Vector) -> None:
        if not self.live or vector.masked:
            return
        if vector.routed != (vector.address, vector.data):
            vector.routed = (vector.address, vector.data)
            vector.message.route(*vector.routed)
        if vector.pending:
            vector.pending = False
            vector.message.pulse()

    # The guest's side. Only aligned accesses of 4 or 8 bytes reach the table and the pending bits (6.8.2).

    def read_table(self, offset: int, size: int) -> int:
        """Read from the table."""
        number, at = divmod(offset, R.VECTOR_SIZE)
        if number >= len(self.vectors) or not _aligned(offset, size):
            return 0
        vector = self.vectors[number]
        entry = ENTRY.pack(vector.address, vector.data, vector.masked)
        return int.from_bytes(entry[at : at + size], "little")

    def write_table(self, offset: int, size: int, value: int) -> None:
        """Write to the table."""
        number, at = divmod(offset, R.VECTOR_SIZE)
        if number >= len(self.vectors) or not _aligned(offset, size):
            return
        vector = self.vectors[number]
        entry = bytearray(ENTRY.pack(vector.address, vector.data, vector.masked))
        entry[at : at + size] = value.to_bytes(size, "little")
        address, vector.data, control = ENTRY.unpack(entry)
        vector.address, vector.masked = address & ~3, bool(control & R.VECTOR_MASK)
        self._update(vector)

    def read_pending(self, offset: int, size: int) -> int:
        """Read pending bits, which cannot be written."""
        if not _aligned(offset, size):
            return 0
        pending = sum(1 << number for number, vector in enumerate(self.vectors) if vector.pending)
        return pending >> 8 * offset & (1 << 8 * size) - 1

    # Life

    def reset(self) -> None:
        """Return to the state after power-on."""
        self.enabled = self.live = False
        for vector in self.vectors:
            vector.clear()

    def save(self) -> tuple[VectorState, ...]:
        """The table and the pending bits."""
        return tuple(
            VectorState(address=v.address, data=v.data, masked=v.masked, pending=v.pending) for v in self.vectors
        )

    def load(self, states: tuple[VectorState, ...]) -> None:
        """Take a table; nothing is sent before :meth:`control`. Raises StateError."""
        if len(states) != len(self.vectors):
            raise StateError(f"the saved state has {len(states)} MSI-X vectors; this function has {len(self.vectors)}")
        self.enabled = self.live = False
        for vector, state in zip(self.vectors, states, strict=True):
            vector.address, vector.data = state.address, state.data
            vector.masked, vector.pending = state.masked, state.pending


def _aligned(offset: int, size: int) -> bool:
    return size in (4, 8) and offset % size == 0
