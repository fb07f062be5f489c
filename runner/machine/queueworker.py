"""The data paths of virtio devices in C: a thread each, which serves the device's queues without Python."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any

from runner.devices.services import Late, Native
from runner.kvm.errors import HostError
from runner.machine.virtqueue import Queue
from runner.native._native import ffi, lib

FINISHING = 5.0  # seconds at the end of a run for what drivers have notified: a hostile one asks for terabytes


def worker_of(native: Native, queues: Sequence[Queue]) -> Any:
    """C's ``struct worker`` for a device's queues. The caller keeps what it points to."""
    assert len(queues) <= lib.WORKER_QUEUES
    worker = ffi.new("struct worker *")
    worker.device, worker.state, worker.n_queues, worker.timeout = native.device, native.state, len(queues), -1
    for index, queue in enumerate(queues):
        worker.queues[index] = queue.native
        worker.requests, worker.index = queue.requests.native, queue.device
        worker.interrupts[index].event = -1
    ffi.buffer(worker.kinds)[: len(queues)] = bytes(queue.kind for queue in queues)
    return worker


class QueueWorker:
    """One device's worker; see :class:`runner.devices.services.DataPath`."""

    def __init__(self, native: Native, queues: Sequence[Queue], watch: Callable[[int], None]) -> None:
        """Start the thread, held. ``watch`` is called with an eventfd that is written when a queue gets a fault.
        Raises HostError."""
        self.worker = worker_of(native, queues)
        self._kept = native, queues  # what C points to
        self._elsewhere, self._queues = native.elsewhere, queues
        self._lock, self._holds = Lock(), 1
        worker = self.worker
        if native.elsewhere is not None:
            worker.bell.doors, worker.bell.n_doors = native.elsewhere.doors, len(queues)
        worker.bell.event, worker.trouble = (os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK) for _ in range(2))
        if error := lib.worker_start(worker):
            self.end()
            raise HostError(f"cannot start a thread for a device: {os.strerror(error)}")
        watch(worker.trouble)

    @property
    def bell(self) -> Any:
        """What a write of a queue's number rings."""
        return ffi.addressof(self.worker, "bell")

    @property
    def attention(self) -> int:
        """What is written for a fault."""
        return int(self.worker.trouble)

    def doorbell(self) -> int:
        """An eventfd that KVM may write for any of the queues. The path is held."""
        self.worker.unnamed = True
        return int(self.worker.bell.event)

    def ring(self, queue: int) -> None:
        """Serve a queue, as if its driver had notified it."""
        lib.bus_ring(self.bell, queue, 0)

    def interrupt(self, queue: int, event: int | None, status: Any = ffi.NULL, cause: int = 0) -> None:
        """Interrupt for a queue by this eventfd, None: not at all, after ``cause`` is set in ``status``. The path is
        held."""
        interrupt = self.worker.interrupts[queue]
        interrupt.status, interrupt.cause, interrupt.event = status, cause, -1 if event is None else event

    due = None  # C has its own thread

    def save(self) -> Late:
        """Nothing is late: C serves at once."""
        return Late()

    def load(self, late: Late) -> bool:
        """False: it is to be told of every queue."""
        return False

    def completed(self) -> tuple[int, ...]:
        """None: C interrupts the drivers itself."""
        return ()

    def mask(self, queue: int, masked: bool) -> None:
        """Keep a queue's interrupt pending; False: send it now, and from now on."""
        lib.worker_mask(self.worker, queue, masked)

    def pending(self, queue: int) -> bool:
        """Whether an interrupt is kept."""
        return bool(self.worker.interrupts[queue].pending)

    def hold(self) -> None:
        """Return once the thread rests; each call needs a :meth:`release`."""
        if not self.worker.started:
            return
        if self._elsewhere is None:
            lib.worker_hold(self.worker)
            return
        with self._lock:
            if not self._holds:
                self._elsewhere.rest(self._queues)
            self._holds += 1
            lib.worker_hold(self.worker)

    def release(self) -> None:
        """Undo one :meth:`hold`."""
        if not self.worker.started:
            return
        if self._elsewhere is None:
            lib.worker_release(self.worker)
            return
        with self._lock:
            self._holds -= 1
            lib.worker_release(self.worker)
            if not self._holds:
                self._elsewhere.go_on(self._queues)

    @contextmanager
    def held(self) -> Iterator[None]:
        """The thread rests meanwhile."""
        self.hold()
        try:
            yield
        finally:
            self.release()

    def end(self, patience: float = FINISHING) -> None:
        """End the thread, which first serves what the driver has notified, for so many seconds at most. A second call
        does nothing."""
        lib.worker_end(self.worker, int(1000 * patience))
        worker = self.worker
        events, worker.bell.event, worker.trouble = (worker.bell.event, worker.trouble), -1, -1
        for event in events:
            if event >= 0:
                os.close(event)
