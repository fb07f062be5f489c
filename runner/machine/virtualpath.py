"""The data path of a virtio device in a machine with virtual time: C serves the queues in the vCPU's thread."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from runner.devices.services import Clock, Late, Native
from runner.machine.queueworker import worker_of
from runner.machine.virtqueue import CODES, Queue
from runner.native._native import ffi, lib

SECOND = 1_000_000_000  # ns
COMMANDS = CODES["control"]


class VirtualPath:
    """One device's; see :class:`runner.devices.services.DataPath`.

    C answers the requests when the driver notifies the device, however long the host takes. The driver sees that at
    ``due``: after ``latency`` ns, and a second for each ``bandwidth`` bytes that they are about (0: bytes take no
    time). Notifications that come before then wait. So what the guest sees follows from its own exits.

    The driver sees answers to commands at once, because it may wait for them in a loop without exits, in which no time
    passes: Linux does (drivers/net/virtio_net.c, virtnet_send_command). Their interrupt comes with the others'.
    """

    bell: Any = None
    attention = -1  # no other thread has anything to tell

    def __init__(
        self, native: Native, queues: Sequence[Queue], clock: Clock, latency: int = 0, bandwidth: int = 0
    ) -> None:
        self._worker = worker_of(native, queues)
        self._worker.alone = True
        self._worker.trouble = self._worker.bell.event = -1
        self._kept = native  # what C points to
        self._queues, self._clock = queues, clock
        self._commands = [index for index, queue in enumerate(queues) if queue.kind == COMMANDS]
        self._latency, self._bandwidth = latency, bandwidth
        self._told: set[int] = set()
        self._busy = False  # something was served that the driver does not see yet
        self.due: int | None = None

    def doorbell(self) -> int:
        """There is none: it would ring in a thread of the host's."""
        raise NotImplementedError

    def ring(self, queue: int) -> None:
        """Serve a queue, as if its driver had notified it."""
        self._told.add(queue)
        if self.due is None:
            self._serve()
        elif queue in self._commands:
            self._answer(queue)

    def completed(self) -> Sequence[int]:
        """Let the drivers see what is due, or serve what has waited for that."""
        if self.due is None or self.due > self._clock.monotonic():
            return ()
        if not self._busy:
            self._serve()
            return tuple(self._commands)
        done = [*self._commands, *self._done()]
        for queue in self._queues:
            lib.virtqueue_publish(queue.native)
        self._busy = False
        # What waits is served in another tick, after the interrupts: a queue counts them by what it has put back.
        self.due = self._clock.monotonic() if self._told or self._worker.again else None
        return done

    def _serve(self) -> None:
        worker, self._busy = self._worker, True
        for index in self._told:
            lib.bus_ring(ffi.addressof(worker, "bell"), index, lib.tsc_now())
        self._told.clear()
        self._gather()
        before = worker.moved
        lib.worker_serve(worker)
        self.due = self._clock.monotonic()  # if nothing was done, only a fault of the driver's may be there
        if self._done():
            transfer = (worker.moved - before) * SECOND // self._bandwidth if self._bandwidth else 0
            self.due += self._latency + transfer

    def _answer(self, queue: int) -> None:
        """Answer commands alone: what else waits goes on waiting."""
        worker = self._worker
        self._told.discard(queue)
        again, worker.again = worker.again, 0
        lib.bus_ring(ffi.addressof(worker, "bell"), queue, lib.tsc_now())
        self._gather()
        lib.worker_serve(worker)
        worker.again |= again

    def _gather(self) -> None:
        """Let the driver see nothing more of what is put back, but answers to commands."""
        for index, queue in enumerate(self._queues):
            if index not in self._commands:
                lib.virtqueue_gather(queue.native)

    def _done(self) -> list[int]:
        """The queues with something that the driver does not see yet."""
        return [index for index, queue in enumerate(self._queues) if lib.virtqueue_hides(queue.native)]

    def save(self) -> Late:
        """What waits for its time."""
        told = sum(1 << queue for queue in self._told) | self._worker.again
        return Late(None if self.due is None else max(0, self.due - self._clock.monotonic()), self._busy, told)

    def load(self, late: Late) -> bool:
        """Let that wait for as long as it still had to."""
        self.due = None if late.left is None else self._clock.monotonic() + late.left
        self._busy = late.served
        self._told = {queue for queue in range(len(self._queues)) if late.told >> queue & 1}
        if self._busy:
            self._gather()
        elif self._told and self.due is None:  # none but a state that was made up
            self._serve()
        return True

    # A machine with virtual time calls all this in one thread, or while the guest stands still.

    def interrupt(self, queue: int, event: int | None, status: Any = ffi.NULL, cause: int = 0) -> None:
        """Nothing: the device interrupts, as :meth:`completed` says."""

    def mask(self, queue: int, masked: bool) -> None:
        """Nothing, likewise."""

    def pending(self, queue: int) -> bool:
        """No interrupt is kept."""
        return False

    def hold(self) -> None:
        """Nothing is ever in flight."""

    def release(self) -> None:
        """Nothing to undo."""

    @contextmanager
    def held(self) -> Iterator[None]:
        """As :meth:`hold`."""
        yield
