"""The services that a machine provides to its devices."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

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

    def discard(self, address: int, size: int) -> None:
        """Return whole pages of RAM to the host; they are zeros from then on."""

    def shared(self) -> "Sequence[Shared]":
        """All RAM that other processes can map; none, unless it is a file."""


class Chain(Protocol):
    """A request of a virtio driver: bytes that the device reads, then room for bytes that it writes. The driver may
    scatter both; the device sees each as one piece.
    """

    readable: int
    writable: int

    def read(self, size: int, at: int = 0) -> bytes:
        """Return up to ``size`` of the bytes that the device reads, from byte ``at`` on. The guest chooses how many
        there are, so a device must bound ``size``."""

    def write(self, data: bytes, at: int = 0) -> int:
        """Copy bytes into the room, from byte ``at`` on; return how many fitted."""

    def discard(self) -> None:
        """Return the whole pages of the room to the host; they are zeros from then on."""


class Virtqueue(Protocol):
    """A split virtqueue, the device's side (virtio 1.2, 2.7). Calls are made under the device's lock.

    If the driver breaks the rules, the queue has a fault, and :meth:`take` returns no chain until the queue is started
    again. Chains that were taken before the queue was stopped are not put back.
    """

    def start(self, size: int, descriptors: int, driver: int, device: int, features: int) -> str | None:
        """Start the queue where the driver has put its areas; return what is wrong with it, None if nothing is."""

    def resume(self, taken: int, put: int) -> None:
        """Continue after so many chains, as :meth:`progress` reported them."""

    def stop(self) -> None:
        """Leave the guest's memory alone until the queue is started again."""

    @property
    def running(self) -> bool:
        """Whether it was started and not stopped since."""

    @property
    def size(self) -> int:
        """Its number of entries, 0 if it does not run."""

    @property
    def fault(self) -> str | None:
        """What the driver has done wrong, None if nothing."""

    @property
    def areas(self) -> tuple[int, int, int]:
        """Where its descriptors, available ring and used ring are."""

    def progress(self) -> tuple[int, int]:
        """How many chains were taken and how many put back, modulo 65536."""

    def tell(self) -> None:
        """The driver has notified the device: it knows of the chains from now on."""

    def take(self) -> Chain | None:
        """Take the next chain; None: there is none, or the queue has a fault."""

    def put(self, chain: Any, written: int) -> None:
        """Put a chain into the used ring, with so many bytes written."""

    def interrupts(self) -> bool:
        """Whether the driver wants an interrupt for what was put back since the last call."""

    def wait(self) -> bool:
        """Ask the driver for a notification of the next chain. True: there is one already, without a notification."""

    def busy(self) -> None:
        """Ask the driver for no notifications."""


def no_virtqueue(number: int, kind: str) -> Virtqueue:
    """The queue of a machine that has none."""
    raise NotImplementedError


class Elsewhere(Protocol):
    """A process that serves a device's queues itself. Calls come one at a time, and raise nothing: the device's tick
    reports what fails."""

    doors: Any  # a ``const int *``, for each queue the eventfd that notifies the process

    def rest(self, queues: Sequence[Any]) -> None:
        """Have the process leave the guest's memory alone, and note how far it has come in each queue."""

    def go_on(self, queues: Sequence[Any]) -> None:
        """Have it serve those that run, from where they are."""


class Native(NamedTuple):
    """How C serves the queues of a kind of device: a ``const struct worker_device *``, and the ``void *`` of the device
    that it works on. Both are kept while the machine lives. ``elsewhere``: C passes on what another process does."""

    device: Any
    state: Any
    elsewhere: Elsewhere | None = None


class Shared(NamedTuple):
    """A range of the guest's RAM as another process can map it: ``host`` is where it begins in this process."""

    start: int
    size: int
    host: int
    fd: int
    offset: int


class Late(NamedTuple):
    """What a data path of a machine with virtual time does ``left`` ns from now, None: nothing. It shows its driver
    what was ``served``, else it serves the queues whose bits are in ``told``."""

    left: int | None = None
    served: bool = False
    told: int = 0


class DataPath(Protocol):
    """What serves a device's queues without Python, in a thread of its own unless the machine has virtual time. It is
    held at first. Python changes neither a queue nor what C works on unless it is held."""

    @property
    def bell(self) -> Any:
        """What a write of a queue's number rings; None: the device passes each notification on to :meth:`ring`."""

    def doorbell(self) -> int:
        """An eventfd: a write to it says that the driver has notified some queue. The path is held."""

    @property
    def attention(self) -> int:
        """An eventfd: a write to it makes the device tick soon."""

    def ring(self, queue: int) -> None:
        """Serve a queue, as after a notification."""

    @property
    def due(self) -> int | None:
        """When the device has to tick for it, on the clock's monotonic time; None: never, as it is now."""

    def completed(self) -> Sequence[int]:
        """Called in the device's tick: the queues whose drivers it has to interrupt now, if they want it."""

    def save(self) -> Late:
        """What was served, or is to be, at a time of the clock. The path is held."""

    def load(self, late: Late) -> bool:
        """Continue from there; False: this path has no such times, and serves whatever it is told of. The path is
        held."""

    def interrupt(self, queue: int, event: int | None, status: Any = ..., cause: int = 0) -> None:
        """Interrupt for a queue by this eventfd, None: not at all; after setting ``cause`` in ``status``, the bits of a
        shadow register."""

    def mask(self, queue: int, masked: bool) -> None:
        """Keep a queue's interrupt pending; False: send it now, and from now on. The path may run."""

    def pending(self, queue: int) -> bool:
        """Whether an interrupt is kept."""

    def hold(self) -> None:
        """Return once nothing is in flight and the guest's memory is left alone; each call needs a release."""

    def release(self) -> None:
        """Undo one hold."""

    def held(self) -> AbstractContextManager[None]:
        """Hold it meanwhile."""


def no_data_path(native: Native, queues: Sequence[Any]) -> DataPath:
    """The data path of a machine that has none."""
    raise NotImplementedError


class Disk(Protocol):
    """A disk image of the host's, which C reads and writes for the guest."""

    sectors: int  # of 512 bytes
    read_only: bool
    block: int  # bytes of a logical block
    physical_block: int  # bytes that its storage works with at once
    discard_limits: tuple[int, int]  # sectors of a range, ranges of a request
    zero_limits: tuple[int, int]

    def native(self, identification: bytes) -> Native:
        """How C serves the disk's queues; up to 20 bytes identify it to the guest."""

    def set_stable(self, stable: bool) -> None:
        """Whether each write is durable before it is answered."""

    def failure(self) -> str | None:
        """What the host could not do since the last call, None: nothing."""


class Private(Protocol):
    """Contents of a disk or of flash memory that no file keeps after the run."""

    def changes(self) -> Iterator[tuple[int, bytes]]:
        """What the guest has written: offsets and bytes."""
        ...

    def take_back(self, at: int, data: bytes) -> None:
        """Have contents as if the guest had written them. Raises OSError."""
        ...


class FlashImage(Protocol):
    """The contents of a flash memory, in a file of the host's."""

    fd: int

    def read(self, at: int, size: int) -> bytes:
        """Return bytes of it."""

    def write(self, at: int, data: bytes) -> None:
        """Write bytes of it. Raises OSError."""


class MappedImage(NamedTuple):
    """An image in guest memory, which C serves: where it begins, and its bytes, zeros at its end included."""

    start: int
    size: int
    native: Native


class Link(Protocol):
    """What is behind a network device on the host. C serves the device's queues for it."""

    native: Native
    features: int  # that it adds: what it can do with checksums and segments (5.1.3)
    pairs: int  # of queues that the driver uses

    @property
    def up(self) -> bool:
        """Whether there is another side."""

    def begin(self, features: int) -> None:
        """The driver is ready, and has accepted these features."""

    def look(self) -> None:
        """C has something to report."""

    def room(self) -> int:
        """The size of a frame, with its header, that may be given now; 0: none, or frames come by themselves."""

    def give(self, frame: bytes) -> None:
        """Have a frame from outside wait for the driver; the queue is served afterwards. C rests."""

    @property
    def waiting(self) -> bytes:
        """The frame that was given and waits; none: no bytes."""

    def reset(self) -> None:
        """Forget the driver. Frames from outside that it has not received are dropped."""

    def close(self) -> None:
        """Leave the host as it was."""


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

    def bits(self, region: str, offset: int, size: int = 1) -> Any:
        """The shadow of a register, a ``uint64_t *`` whose bits several threads change by ``bits_change``."""

    def change(self, region: str, offset: int, set: int = 0, clear: int = 0, size: int = 1) -> int:
        """Clear and set bits of a shadow in one step, and return what it is then."""

    def clears(self, region: str, offset: int, of: int, size: int = 1) -> None:
        """Writes of the register clear the bits that they set in the shadow of the one at ``of``, in C."""

    def rings(self, region: str, offset: int, path: DataPath, size: int = 1) -> None:
        """Writes of the register notify a data path of the queue whose number they write, in C."""

    def map(self, region: str, start: int) -> None:
        """Map a region without a fixed place, or move it, in one step: a vCPU finds it in its old or its new place. An
        access that begins after this returns finds it in the new place. An access that began before may still reach the
        device by the old one. Raises MapError."""

    def unmap(self, region: str) -> None:
        """Unmap a region without a fixed place; see :meth:`map` for accesses that began before."""

    def flush_at_once(self, now: bool) -> None:
        """Flush coalesced writes at once (True), or within 20 ms, in larger pieces (False, the default)."""


class Configuration(Protocol):
    """The configuration space of the machine's PCI functions, by address (:mod:`vmspec.registers.pci`). A function has
    it as a region in the space "pci". Where there is no function, reads are all ones and writes have no effect."""

    def read(self, address: int, size: int) -> int:
        """Read ``size`` bytes."""

    def write(self, address: int, size: int, value: int) -> None:
        """Write ``size`` bytes."""


class NoFunctions:
    """The configuration space of a machine without PCI."""

    def read(self, address: int, size: int) -> int:
        """All ones."""
        return (1 << 8 * size) - 1

    def write(self, address: int, size: int, value: int) -> None:
        """Do nothing."""


def no_direct(region: str, fd: int) -> Callable[[bool], None]:
    """That of a machine whose guest reads nothing without an exit."""
    return lambda shown: None


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
    # Makes a queue of a virtio device, by its number and the kind of its requests (vmspec.trace.requests).
    virtqueue: Callable[[int, str], Virtqueue] = no_virtqueue
    port_output: Callable[[int, bytes], None] = lambda port, data: None  # takes what a port of the device sends
    random: Callable[[int], bytes] = os.urandom  # so many random bytes of the host's
    data_path: Callable[[Native, Sequence[Any]], DataPath] = no_data_path  # makes one for queues of the device
    intr: Callable[[bool], None] = lambda level: None  # drives the processor's interrupt input, for a controller
    configuration: Configuration = NoFunctions()
    # Lets the guest read a file in a region with a fixed place, without an exit, while the function that this returns
    # was last called with True. The guest's writes stay exits.
    direct: Callable[[str, int], Callable[[bool], None]] = no_direct
