"""The services that a machine provides to its devices."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from vmspec.trace.ends import DeviceEnd


class Clock(Protocol):
    """The machine's time, the only one that devices use. Both are in nanoseconds."""

    def monotonic(self) -> int:
        """The time since an arbitrary moment; it never goes back and cannot be set (CLOCK_MONOTONIC)."""

    def realtime(self) -> int:
        """The date: the time since 1970-01-01 UTC, which can be set at any moment (CLOCK_REALTIME)."""


class Interrupt(Protocol):
    """A device's interrupt, by whatever path it reaches the vCPUs: a line or messages.

    A device without an interrupt, or in a machine without interrupt controllers, has one that does nothing.
    """

    def set(self, level: bool) -> None:
        """Drive the line. With edges or messages, its rising interrupts."""

    def pulse(self) -> None:
        """Raise and lower the line: one edge, or one message."""

    def eventfd(self) -> int | None:
        """An eventfd; each write to it is a pulse. For threads without Python and for other processes. It is closed
        with the machine. None: the interrupt does nothing."""


class MessageInterrupt(Interrupt, Protocol):
    """A message-signalled interrupt (PCI Local Bus 3.0, 6.8): the guest chooses the message's address and data."""

    def route(self, address: int, data: int) -> None:
        """Send this message from now on; before the first call, nothing is sent."""


class Memory(Protocol):
    """The guest's RAM, by guest-physical address. ValueError: the range is not in one piece of RAM.

    Addresses come from the guest, so a device catches the error and does what its data sheet says of a bad address.
    """

    def read(self, address: int, size: int) -> bytes:
        """Copy bytes out of RAM."""

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Copy bytes into RAM."""


class Bus(Protocol):
    """A device's bus: where its regions lie, and which of its registers the vCPU loop answers without Python.

    ``region`` is the name of one of the device's regions, ``offset`` counts from its start. Only accesses of exactly
    ``size`` bytes are answered from a shadow register; all others go to ``read`` and ``write`` of the device. A region
    keeps its shadow registers while it is moved or unmapped.
    """

    def shadow(self, region: str, offset: int, value: int | None, size: int = 1) -> None:
        """Let C answer reads of a register with ``value`` until the next call; None: reads go to Python."""

    def writes(self, region: str, offset: int, how: str | None, size: int = 1) -> None:
        """Make writes of a register "coalesced" (handed to ``written``) or "ignored"; None: writes go to Python."""

    def shadow_writes(self, region: str, offset: int, mask: int | None, size: int = 1) -> None:
        """For a register without side effects of writing: C stores values that set no bit outside ``mask`` in the
        shadow, for later reads, and coalesces the writes for the device. None: writes go to Python."""

    def map(self, region: str, start: int) -> None:
        """Map a region without a fixed place, or move it, in one step: a vCPU finds it in its old or its new place. An
        access that begins after this returns finds it in the new place. An access that began before may still reach the
        device by the old one. Raises MapError."""

    def unmap(self, region: str) -> None:
        """Unmap a region without a fixed place; see :meth:`map` for accesses that began before."""

    def flush_at_once(self, now: bool) -> None:
        """Flush coalesced writes at once (True), or within 20 ms, in larger pieces (False, the default)."""


class Services(NamedTuple):
    """The services of one device."""

    bus: Bus
    irq: Interrupt  # the line that the spec or the device's kind names
    msi: Callable[[], MessageInterrupt]  # makes a further interrupt, a message
    memory: Memory
    output: Callable[[bytes], None]  # takes the text that the device prints
    end: Callable[[DeviceEnd, int | None], None]  # request the end of the run: kind ("reset", "poweroff", ...), status
    clock: Clock
    # Request a tick in so many nanoseconds, replacing an earlier request; None cancels it. The default is a machine
    # without timers.
    after: Callable[[int | None], None] = lambda delay: None
