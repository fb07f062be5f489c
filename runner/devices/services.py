"""What a machine gives to its devices."""

from typing import Protocol


class Clock(Protocol):
    """The machine's time, and the only one that devices know. Both are in nanoseconds."""

    def monotonic(self) -> int:
        """The time since a moment of the clock's own: it never goes back and nobody sets it (CLOCK_MONOTONIC)."""

    def realtime(self) -> int:
        """The date: the time since 1970-01-01 UTC, which somebody may set at any moment (CLOCK_REALTIME)."""


class Interrupt(Protocol):
    """A device's way to interrupt the guest, whatever leads from it to the vCPUs: a line, or messages.

    A device without an interrupt, or in a machine without interrupt controllers, has one that goes nowhere.
    """

    def set(self, level: bool) -> None:
        """Drive the line. Where edges or messages interrupt, its rising does."""

    def pulse(self) -> None:
        """Raise the line and let it fall: one edge, or one message."""

    def eventfd(self) -> int | None:
        """An eventfd, each write to which is a pulse: for threads that run without Python, and for other processes. It
        is closed with the machine. None: the interrupt goes nowhere."""


class MessageInterrupt(Interrupt, Protocol):
    """A message-signalled interrupt (PCI Local Bus 3.0, 6.8): the guest chooses where to and what is written."""

    def route(self, address: int, data: int) -> None:
        """Send this message from now on; nothing is sent before the first call."""


class Memory(Protocol):
    """The guest's RAM, by guest-physical address. ValueError: the range is not RAM, wholly and in one piece.

    Addresses come from the guest, so a device catches that and does as its data sheet says of a bad address.
    """

    def read(self, address: int, size: int) -> bytes:
        """Copy bytes out of RAM."""

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Copy bytes into RAM."""
