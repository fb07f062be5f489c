"""The base class of device models: a device has registers at offsets in named regions, and uses the machine's
services."""

import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Protocol

from runner.devices.services import Bus, Clock, Interrupt, Memory, MessageInterrupt, Services
from runner.devices.state import State, StateError
from vmspec.host.printable import PrintableError
from vmspec.plan.calls import Slot
from vmspec.trace.ends import DeviceEnd


class DeviceError(PrintableError):
    """A device cannot be made; the message says which and why."""


class MapError(DeviceError):
    """A region cannot be mapped where the device asked; the message says why. The region stays where it was.

    A device whose guest chooses the address must catch this. If it does not, the run ends, as with any other error.
    """


class LostError(DeviceError):
    """What is behind a device on the host has gone while the guest runs; the message follows the device's name."""


class End(Protocol):
    """What takes input from the host; see :meth:`Device.room` and :meth:`Device.receive`."""

    def room(self) -> int:
        """How many bytes it takes now."""

    def receive(self, data: bytes) -> None:
        """Take so many at most."""


def no_backend() -> Any:
    """What is behind a device that has nothing of the host behind it."""
    raise NotImplementedError


class Board(NamedTuple):
    """What a device may know of its machine: the spec's directory, and RAM as the plan's slots. ``notice`` shows the
    user a message about the device. ``backend`` opens what the device's table names of the host: an image, a network,
    sockets. It raises DeviceError."""

    directory: Path
    slots: tuple[Slot, ...]
    notice: Callable[[str], None] = lambda text: None
    backend: Callable[[], Any] = no_backend


class Device:
    """Base class of device models, user devices included.

    A vCPU thread calls ``read`` and ``write``. The machine's device thread calls ``written``, ``tick`` and ``receive``.
    Either calls ``room``. The machine holds the device's lock during each call, so a device never sees two at once.

    ``region`` is the name of the device's region that was accessed. ``size`` is 1, 2, 4 or 8. An access never extends
    beyond its region: the bus splits one that crosses the end. String I/O is one call per item.

    Queued writes are handed over before any later call of the same device except ``room``, and before any later access
    of any other device. So the output of several devices comes in the guest's order.
    """

    bus: Bus
    irq: Interrupt
    msi: Callable[[], MessageInterrupt]
    memory: Memory
    output: Callable[[bytes], None]
    end: Callable[[DeviceEnd, int | None], None]
    clock: Clock
    after: Callable[[int | None], None]

    # The class that the model saves and loads; None: it can do neither.
    state_class: ClassVar[type[State] | None] = None

    # SHA-256 of the user's files that the class was made from, by path.
    made_from: Mapping[Path, str] = MappingProxyType({})

    @classmethod
    def make(cls, options: Mapping[str, Any], board: Board) -> "Device":
        """Make the device from the options of its table in the spec. Most devices need no more than the options."""
        return cls()

    def attach(self, services: Services) -> None:
        """Receive the machine's services; called once before the guest starts."""
        self.bus = services.bus
        self.irq = services.irq
        self.msi = services.msi
        self.memory = services.memory
        self.output = services.output
        self.end = services.end
        self.clock = services.clock
        self.after = services.after
        self.start()

    def start(self) -> None:
        """Publish the first register values; called once, after the device is connected."""

    def read(self, region: str, offset: int, size: int) -> int:
        """Return the value of a guest read; all ones if nothing answers."""
        return (1 << 8 * size) - 1

    def write(self, region: str, offset: int, size: int, value: int) -> None:
        """Handle a guest write."""

    def written(self, region: str, offset: int, size: int, data: bytes) -> None:
        """Handle queued writes of one register, oldest first: ``len(data) // size`` items of ``size`` bytes each."""
        for at in range(0, len(data), size):
            self.write(region, offset, size, int.from_bytes(data[at : at + size], "little"))

    def room(self) -> int:
        """Return how many bytes of host input the device can take now. The machine reads no more than that from the
        source, so a guest that does not listen holds the source back and loses nothing. After a 0, the machine asks
        again after each call that may have changed it: ``read``, ``write``, ``written``, ``tick``."""
        return 0

    def receive(self, data: bytes) -> None:
        """Take input from the host (a terminal, a pipe, a file); at most :meth:`room` bytes."""

    def model(self) -> Any:
        """The device itself, behind whatever connects it."""
        return self

    def ends(self) -> "Sequence[End]":
        """What takes input from the host: the device itself, or each of its ports."""
        return (self,)

    def resized(self, columns: int, rows: int) -> None:
        """The terminal of the device's console has this size, at the start and whenever it changes."""

    def tick(self) -> None:
        """The time requested with ``self.after(nanoseconds)`` has come; called by the device thread."""

    def reset(self) -> None:
        """Return to the state after power-on. Host input that the guest has not read yet is not lost: it arrives
        afterwards."""
        raise DeviceError(f"{type(self).__name__} cannot be reset: it has no reset()")

    def save(self) -> State:
        """Return the state that the guest and host input have given the device.

        By default, the attributes that have the names of the fields of :attr:`state_class`, with or without a leading
        underscore. All queued writes have been handed over before the call.
        """
        state_class, saved = self._saved()
        return state_class(**{name: _plain(getattr(self, at)) for name, at in saved.items()})

    def load(self, state: State) -> None:
        """Continue from the state of another device of the class. Called instead of :meth:`reset`, after :meth:`start`.
        Raises StateError."""
        state_class, saved = self._saved()
        if type(state) is not state_class:  # each device made from a user's file has its own class
            state = state_class.again(state)
        for name, at in saved.items():
            value, now = getattr(state, name), getattr(self, at)
            setattr(self, at, type(now)(value) if isinstance(now, deque | bytearray) else value)

    def _saved(self) -> tuple[type[State], dict[str, str]]:
        """The state class, and the attribute for each of its fields."""
        if self.state_class is None:
            raise StateError(f"{type(self).__name__} can be neither saved nor loaded: it has no state_class")
        return self.state_class, {
            name: f"_{name}" if hasattr(self, f"_{name}") else name for name in self.state_class.rules()
        }

    def close(self) -> None:
        """Release what the device holds; called once after the last vCPU has stopped."""


def _plain(value: Any) -> Any:
    return bytes(value) if isinstance(value, deque | bytearray) else value


def raised(error: BaseException, device: Device) -> str:
    """Describe a device's error, with the line of the device's own file that it came through."""
    return said(error, getattr(sys.modules.get(type(device).__module__), "__file__", None))


def said(error: BaseException, file: str | None) -> str:
    """Describe an error, with the last line of ``file``, the user's own, that it came through."""
    import traceback

    text = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
    if isinstance(error, SyntaxError):
        return f"{text} ({error.filename}:{error.lineno})"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f"{text} ({file}:{lines[-1]})" if lines else text
