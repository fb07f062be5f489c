"""What every device model is: a small class whose registers lie at offsets in named regions, and to which the machine
gives its services."""

import sys
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

from runner.devices.services import Bus, Clock, Interrupt, Memory, MessageInterrupt, Services
from runner.devices.state import State, StateError
from vmspec.host.printable import PrintableError
from vmspec.plan.calls import Slot
from vmspec.trace.ends import DeviceEnd


class DeviceError(PrintableError):
    """A device that cannot be made; the message says which and why."""


class MapError(DeviceError):
    """A region that cannot be mapped where the device asked for; the message says why. The region stays where it was.

    A device whose guest chooses the address catches it; of one that does not, it ends the run as any error does.
    """


class Board(NamedTuple):
    """What a device may know of its machine: the spec's directory, and RAM as the plan's slots. ``notice`` is told what
    a person should know of the device."""

    directory: Path
    slots: tuple[Slot, ...]
    notice: Callable[[str], None] = lambda text: None


class Device:
    """Base class of device models, the user's own included.

    ``read`` and ``write`` are called by a vCPU thread, ``written``, ``tick`` and ``receive`` by the machine's device
    thread, ``room`` by either; the machine holds the device's lock around each call, so a device never sees two at
    once. ``region`` is the name of the device's region that was accessed. Queued writes are always handed over before
    any later call of the same device but ``room``, and before any later access of every other device: what devices
    print comes in the guest's order. ``size`` is 1, 2, 4 or 8. An access never reaches beyond the region that it begins
    in: the bus splits one that crosses its end. String I/O arrives as one call per item.
    """

    bus: Bus
    irq: Interrupt
    msi: Callable[[], MessageInterrupt]
    memory: Memory
    output: Callable[[bytes], None]
    end: Callable[[DeviceEnd, int | None], None]
    clock: Clock
    after: Callable[[int | None], None]

    # What the model saves and loads; None: it can do neither.
    state_class: ClassVar[type[State] | None] = None

    # SHA-256 of the user's own files that the class was made from, by path.
    made_from: Mapping[Path, str] = MappingProxyType({})

    @classmethod
    def make(cls, options: Mapping[str, Any], board: Board) -> "Device":
        """The device for the options of its table in the spec. Most need nothing of either."""
        return cls()

    def attach(self, services: Services) -> None:
        """Take the machine's services; called once before the guest starts."""
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
        """Publish the first register values; called once, after the connections are there."""

    def read(self, region: str, offset: int, size: int) -> int:
        """The value of a guest read; all ones where nothing answers."""
        return (1 << 8 * size) - 1

    def write(self, region: str, offset: int, size: int, value: int) -> None:
        """A guest write."""

    def written(self, region: str, offset: int, size: int, data: bytes) -> None:
        """Queued writes of one register, oldest first: ``len(data) // size`` items of ``size`` bytes each."""
        for at in range(0, len(data), size):
            self.write(region, offset, size, int.from_bytes(data[at : at + size], "little"))

    def room(self) -> int:
        """How many bytes of input from the host the device can take now: the machine reads no more than that from its
        source, so a guest that does not listen holds the source back and loses nothing. Where it is none, the machine
        asks again after each call that may have changed it: ``read``, ``write``, ``written``, ``tick``."""
        return 0

    def receive(self, data: bytes) -> None:
        """Input from the host (a terminal, a pipe, a file) for a device that takes it; at most :meth:`room` bytes."""

    def tick(self) -> None:
        """The time asked for with ``self.after(nanoseconds)`` has come; called by the device thread."""

    def reset(self) -> None:
        """Be as new, as after the machine's power was off. What the host has sent and the guest has not read yet is not
        lost: it comes after."""
        raise DeviceError(f"{type(self).__name__} cannot be reset: it has no reset()")

    def save(self) -> State:
        """What the guest has made of the device, and what the host has sent to it.

        By default the attributes that are named as the fields of :attr:`state_class`, with a leading underscore or
        without. All that was queued has been handed over.
        """
        state_class, saved = self._saved()
        return state_class(**{name: _plain(getattr(self, at)) for name, at in saved.items()})

    def load(self, state: State) -> None:
        """Go on from what another device of the class has saved; called instead of :meth:`reset`, of a device that has
        been started. Raises StateError."""
        state_class, saved = self._saved()
        if type(state) is not state_class:  # of a file of the user's own each device has its own class
            state = state_class.again(state)
        for name, at in saved.items():
            value, now = getattr(state, name), getattr(self, at)
            setattr(self, at, type(now)(value) if isinstance(now, deque | bytearray) else value)

    def _saved(self) -> tuple[type[State], dict[str, str]]:
        """The class of states, and the attribute of each of its fields."""
        if self.state_class is None:
            raise StateError(f"{type(self).__name__} can be neither saved nor loaded: it has no state_class")
        return self.state_class, {
            name: f"_{name}" if hasattr(self, f"_{name}") else name for name in self.state_class.rules()
        }

    def close(self) -> None:
        """Let go of what the device holds; called once after the last vCPU has stopped."""


def _plain(value: Any) -> Any:
    return bytes(value) if isinstance(value, deque | bytearray) else value


def raised(error: BaseException, device: Device) -> str:
    """An error of a device in words, with the line of the device's own file that it came through."""
    return said(error, getattr(sys.modules.get(type(device).__module__), "__file__", None))


def said(error: BaseException, file: str | None) -> str:
    """An error in words, with the last line of ``file``, a user's own, that it came through."""
    import traceback

    text = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
    if isinstance(error, SyntaxError):
        return f"{text} ({error.filename}:{error.lineno})"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f"{text} ({file}:{lines[-1]})" if lines else text
