"""The base class of virtio devices, whatever transport connects them (virtio 1.2, 2 and 3)."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Protocol

from runner.devices.device import Board, End
from runner.devices.services import Chain, Clock, Memory, Native, Virtqueue
from runner.devices.state import State
from vmspec.registers import virtio as R


class NoState(State):
    """The state of a device that has none beside its queues."""


class Serve(Protocol):
    """See :class:`Host`."""

    def __call__(
        self, queue: int, answer: Callable[[Chain], int | None], more: Callable[[], bool] = lambda: True, /
    ) -> None: ...


class Host(NamedTuple):
    """What a virtio device may use of its machine, and of the transport."""

    queues: Sequence[Virtqueue]
    memory: Memory
    clock: Clock
    after: Callable[[int | None], None]  # request a tick in so many nanoseconds; None: cancel
    output: Callable[[bytes], None]
    port_output: Callable[[int, bytes], None]  # the same of a port, by its number
    random: Callable[[int], bytes]  # the host's random bytes
    # Let a function answer each chain of a queue, and put it back; while there is more to answer with.
    serve: "Serve"
    ring: Callable[[int], None]  # have C serve a queue, as when its driver notifies it
    interrupt: Callable[[int], None]  # interrupt the driver for what was put back into a queue, if it wants that
    broken: Callable[[str], None]  # the driver has broken the device's rules, and must reset it
    reconfigured: Callable[[], None]  # notify the driver that the configuration has changed
    notice: Callable[[str], None]  # show the user a message about the device
    held: Callable[[], AbstractContextManager[None]]  # C rests meanwhile, so that Python may change what it works on


class VirtioDevice:
    """Base class of virtio devices. The transport holds the device's lock during each call.

    From :meth:`begin` to :meth:`reset` there is a driver, and the queues that it has set up run. C rests in both calls.
    """

    number: int  # the device's number (5)
    # What the device's queues can have, of the features of all devices (6).
    ring_features: int = R.INDIRECT_DESC | R.EVENT_IDX
    holds: ClassVar[tuple[int, ...]] = ()  # queues of which it holds chains until later, and puts them back in order
    queue_sizes: tuple[int, ...]  # the longest that each queue may be
    # What the requests of each queue are for, a kind of vmspec.trace.requests; those without one are "other".
    queue_kinds: tuple[str, ...] = ()
    features: int = 0  # what the device offers, beside the features of all devices
    state_class: ClassVar[type[State]] = NoState
    made_from: Mapping[Path, str] = MappingProxyType({})  # SHA-256 of the user's files that the class was made from

    host: Host

    @classmethod
    def make(cls, options: Mapping[str, Any], board: Board) -> "VirtioDevice":
        """Make the device from the options of its table in the spec."""
        return cls()

    def connect(self, host: Host) -> None:
        """Receive what the device may use; called once, before the guest starts."""
        self.host = host

    def configuration(self) -> bytes:
        """The device's configuration space: "device configuration layout" in the section of each device."""
        return b""

    def configure(self, offset: int, data: bytes) -> None:
        """The driver writes to the configuration space. By default, no field can be written."""

    def native(self) -> Native | None:
        """How C serves the queues, in a thread of its own; None: :meth:`notified` does. Called once, after
        :meth:`connect`."""
        return None

    def troubled(self) -> None:
        """C has something to report other than faults of queues: it has called worker_trouble()."""

    def negotiated(self, features: int) -> None:
        """The driver has accepted these features, and cannot change them until :meth:`reset`."""

    def begin(self, features: int) -> None:
        """The driver is ready. It has accepted these features of those that were offered. A saved state is loaded
        after this call, before the queues run."""

    def notified(self, queue: int) -> None:
        """The driver may have made chains available in a queue that runs. By default, :meth:`request` answers each. A
        device that takes chains itself must call the queue's ``wait()`` last, or the driver may omit the notification
        of the next one."""
        self.host.serve(queue, lambda chain: self.request(queue, chain))

    def request(self, queue: int, chain: Chain) -> int:
        """Answer a chain; return how many bytes were written to it, from the first on."""
        return 0

    def tick(self) -> None:
        """The time that was requested by ``host.after`` has come."""

    def room(self) -> int:
        """How many bytes of host input the device can take now."""
        return 0

    def receive(self, data: bytes) -> None:
        """Take input from the host, at most :meth:`room` bytes."""

    def ends(self) -> Sequence[End]:
        """What takes input from the host: the device itself, or each of its ports."""
        return (self,)

    def resized(self, columns: int, rows: int) -> None:
        """The terminal of the device's console has this size."""

    def reset(self) -> None:
        """Return to the state after power-on. The queues have stopped."""

    def save(self) -> State:
        """The device's own state, without its queues and features."""
        return self.state_class()

    def load(self, state: State) -> None:
        """Continue from a state that :meth:`save` returned, after :meth:`begin` if there was a driver. The queues do
        not run yet. Raises StateError."""

    def close(self) -> None:
        """Release what the device holds."""
