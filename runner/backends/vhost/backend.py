"""How vmrun has another process serve a device's queues, by vhost-user.

Python speaks the protocol when the driver sets the device up or resets it, and when vmrun pauses. Then the back end
serves the queues in the guest's memory by itself: vCPUs wake it by an eventfd, and C passes its interrupts on.
"""

import os
import select
import time
from array import array
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from runner.backends.errors import BackendError
from runner.backends.vhost.connection import PATIENCE, PeerError
from runner.backends.vhost.session import Session
from runner.devices.services import Memory, Native, Shared, Virtqueue
from runner.native._native import ffi, lib
from vmspec.registers import virtio as R

INT = array("i").itemsize
# Features that the back end decides on: those of its kind of device, and of queues (virtio 1.2, 6). Others need
# something of the transport or of the front end.
OFFERED = (1 << 24) - 1 | ((1 << 64) - (1 << 50)) | R.INDIRECT_DESC | R.EVENT_IDX | R.VERSION_1


class BackEnd:
    """See :class:`runner.devices.virtio.vhostuser.BackEnd`. ``open`` starts or calls the back end anew. Raises
    BackendError for ``key``."""

    def __init__(self, open_: Callable[[], Session], queues: int, configuration: int, key: str) -> None:
        """The device has so many ``queues`` and so many bytes of configuration that are the back end's."""
        self._open, self._queues, self._size = open_, queues, configuration
        self._memory: Memory
        self._accepted = 0
        self._configuration = b""
        self._lost: str | None = None
        self._refused: str | None = None
        self._session: Session | None = None
        self._vhost: Any = ffi.new("struct vhost *")
        self._events = select.epoll()
        self._alarm = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._doors = [os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK) for _ in range(2 * queues)]
        self._events.register(self._alarm, select.EPOLLIN | select.EPOLLET)
        self._vhost.events = self._events.fileno()
        self._kicks, self._calls = self._doors[:queues], self._doors[queues:]
        for place, descriptors in ((self._vhost.kicks, self._kicks), (self._vhost.calls, self._calls)):
            ffi.buffer(place)[: INT * queues] = array("i", descriptors).tobytes()
        self.doors = self._vhost.kicks
        self.native = Native(ffi.addressof(lib, "vhost_device"), self._vhost, self)
        try:
            self.open()
        except PeerError as error:
            self.close()
            raise BackendError(key, str(error)) from error
        except BaseException:
            self.close()
            raise

    def open(self) -> None:
        """Start or call the back end, unless there is one. Raises PeerError, BackendError."""
        if self._session is not None:
            return
        session = self._open()
        try:
            session.begin(self._queues)
            configuration = session.configuration(self._size) if self._size else b""
        except PeerError as error:
            raise PeerError(session.end(str(error))) from error
        except BaseException:
            session.end()
            raise
        for descriptor, events in session.watched():
            self._events.register(descriptor, events | select.EPOLLET)
        self._session, self._lost, self._configuration = session, None, configuration

    @property
    def features(self) -> int:
        """What the back end offers to the driver."""
        return self._session.features & OFFERED if self._session else 0

    @property
    def lost(self) -> str | None:
        """Why there is no back end any more, None: there is one."""
        return self._lost

    @property
    def refused(self) -> str | None:
        """Why the back end cannot serve what the driver has set up, None: it can."""
        return self._refused

    def changed(self) -> bool:
        """Whether the configuration has changed since the last call."""
        if self._session is not None:
            try:
                if self._session.changed() and self._size:
                    self._configuration = self._session.configuration(self._size)
                    return True
            except PeerError as error:
                self._lose(error)
        return False

    def configuration(self) -> bytes:
        """The configuration space, as far as it is the back end's."""
        return self._configuration

    def configure(self, offset: int, data: bytes) -> None:
        """The driver writes to it."""
        if self._session is not None:
            try:
                self._session.configure(offset, data)
                self._configuration = self._session.configuration(self._size)
            except PeerError as error:
                self._lose(error)

    def begin(self, features: int, memory: Memory) -> None:
        """The driver is ready, and has accepted these features."""
        self._accepted, self._memory, self._refused = features, memory, None

    def reset(self) -> None:
        """The driver has reset the device. One that was lost is started or called again."""
        try:
            if self._session is None:
                self.open()
            else:
                self._session.reset()
        except PeerError as error:
            self._lose(error)
        except BackendError as error:
            self._lost = error.why

    # What the data path asks for

    def rest(self, queues: Sequence[Virtqueue]) -> None:
        """Stop the queues, and wait for what the back end has begun."""
        session = self._session
        if session is None:
            return
        try:
            with session.altogether(PATIENCE) as latest:
                for index in sorted(session.running):
                    taken = session.stop(index)
                    queues[index].resume(taken, self._finished(index, queues[index], taken, latest))
        except PeerError as error:
            self._lose(error)

    def _finished(self, index: int, queue: Virtqueue, taken: int, latest: float) -> int:
        """Wait until the back end has put back all that it took: some stop before that, and would write into the memory
        of a guest that has been reset meanwhile."""
        while (put := int.from_bytes(self._memory.read(queue.areas[2] + 2, 2), "little")) != taken:
            if time.monotonic() > latest:
                raise PeerError(f"does not finish {taken - put & 0xFFFF} requests of queue {index}")
            time.sleep(0.0005)
        return put

    def go_on(self, queues: Sequence[Virtqueue]) -> None:
        """Start the queues that run."""
        if (session := self._session) is None:
            return
        try:
            with session.altogether(PATIENCE):
                memory = self._memory.shared()
                session.accept(self._accepted, memory)
                for index, queue in enumerate(queues):
                    if queue.running:
                        self._start(session, index, queue, memory)
        except PeerError as error:
            self._lose(error)

    def _start(self, session: Session, index: int, queue: Virtqueue, memory: Sequence[Shared]) -> None:
        descriptors, available, used = (_user(memory, area) for area in queue.areas)
        if descriptors is None or available is None or used is None:
            self._refused = f"queue {index} lies in memory that other processes cannot map"
            os.eventfd_write(self._alarm, 1)
            return
        session.start(index, queue, (descriptors, available, used), self._kicks[index], self._calls[index])
        os.eventfd_write(self._kicks[index], 1)  # no notification comes for what is there already

    def _lose(self, error: PeerError) -> None:
        session, self._session = self._session, None
        if session is not None:
            self._lost = session.end(str(error))
            os.eventfd_write(self._alarm, 1)  # the device's tick reports it

    def close(self) -> None:
        """End the back end, once it has finished what it has begun. A second call does nothing."""
        session, self._session = self._session, None
        if session is not None:
            # It ends now anyway.
            with suppress(PeerError), session.altogether(PATIENCE):
                for index in sorted(session.running):
                    session.stop(index)
            session.end()
        self._events.close()
        while self._doors:
            os.close(self._doors.pop())
        if self._alarm >= 0:
            os.close(self._alarm)
            self._alarm = -1


def _user(memory: Sequence[Shared], address: int) -> int | None:
    """The address by which messages name an address of the guest's: where it is in this process. None: it is not in
    memory that others can map, as an image of virtio-pmem is not."""
    for region in memory:
        if region.start <= address < region.start + region.size:
            return region.host + address - region.start
    return None
