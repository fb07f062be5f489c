"""What a machine gives to its devices."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from vmspec.trace.ends import DeviceEnd


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


class Bus(Protocol):
    """A device's end of the bus: where its regions lie, and which of its registers the vCPU loop can answer without
    Python.

    ``region`` is the name of one of the device's regions, ``offset`` counts from its start. Only accesses of exactly
    ``size`` bytes are answered from a shadow register; all others come to ``read`` and ``write`` of the device. The
    shadow registers of a region stay with it wherever it is mapped, and while it is not.
    """

    def shadow(self, region: str, offset: int, value: int | None, size: int = 1) -> None:
        """Let reads of a register be answered from a shadow of it, which holds ``value`` until the next call; None:
        reads come to Python."""

    def writes(self, region: str, offset: int, how: str | None, size: int = 1) -> None:
        """Let writes of a register be "coalesced" (handed to ``written``) or "ignored"; None: come to Python."""

    def shadow_writes(self, region: str, offset: int, mask: int | None, size: int = 1) -> None:
        """While writing a register has no side effect: let C store values that set no bit outside ``mask`` in the
        shadow, for later reads, and coalesce the writes for the device; None: writes come to Python."""

    def map(self, region: str, start: int) -> None:
        """Map a region that has no fixed place, or move it, in one step: a vCPU finds it in its old place or in its new
        one. An access that begins after this has returned finds it in the new one; an access that was on its way
        before may still be answered, or reach the device, from the old one. Raises MapError."""

    def unmap(self, region: str) -> None:
        """Take a region that has no fixed place off the bus; see :meth:`map` for accesses on their way."""

    def flush_at_once(self, now: bool) -> None:
        """Have coalesced writes flushed at once (True), or within 20 ms, in larger pieces (False, the default)."""


class Services(NamedTuple):
    """What the machine gives to one device."""

    bus: Bus
    irq: Interrupt  # the line that the spec or the device's kind names
    msi: Callable[[], MessageInterrupt]  # makes a further interrupt, a message
    memory: Memory
    output: Callable[[bytes], None]  # where the text the device prints goes
    end: Callable[[DeviceEnd, int | None], None]  # ask for the end of the run: kind ("reset", "poweroff", ...), status
    clock: Clock
    # Ask for tick in that many nanoseconds, replacing an earlier request; None takes it back. The default is a
    # machine without timers.
    after: Callable[[int | None], None] = lambda delay: None
