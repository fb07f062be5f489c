"""The record of the requests to virtio devices: the VMM's side, and the recorder's."""

import os
from collections.abc import Callable
from typing import Any

from runner.native import _native
from runner.recording.columns import Buffers, Columns

ffi = _native.ffi
lib = _native.lib


class Requests:
    """Where the queues of a machine record the chains that they give back. Nothing is recorded before :meth:`begin`."""

    def __init__(self) -> None:
        self.native = ffi.new("struct requests *")

    def begin(self, base: Any, slots: int, policy: int, event: int) -> None:
        """Record into the ring there. No queue runs yet."""
        lib.requests_init(self.native, base, slots, policy, event)

    @property
    def waiting(self) -> bool:
        """Whether a thread waits for room in the ring."""
        ring = self.native.ring
        return ring.control != ffi.NULL and bool(ring.control.waiting)

    def abandon(self) -> None:
        """Nobody consumes them any more: no thread waits for room from now on."""
        if self.native.ring.control != ffi.NULL:
            lib.requests_close(self.native)


class RequestSource:
    """The recorder's side of the ring of requests at ``base``. ``lost`` raises RingLostError if somebody has truncated
    the file."""

    def __init__(self, base: Any, slots: int, event: int, clock: dict[str, int], lost: Callable[[], None]) -> None:
        self._ring = ffi.new("struct ring *")
        lib.ring_init(self._ring, base, slots, 0, lib.RING_WAIT, event)
        self._event, self._clock, self._lost = event, clock, lost
        self._columns = Columns(ffi.new("struct requests_columns *"))

    @property
    def dropped(self) -> int:
        """How many were dropped because the ring was full."""
        return int(self._ring.control.dropped)

    def wait(self, seconds: float) -> None:
        """Return when the ring is a quarter full, when woken, or after ``seconds``."""
        lib.rings_wait(self._event, int(seconds * 1000))

    def wake(self) -> None:
        """Let :meth:`wait` return now."""
        os.eventfd_write(self._event, 1)

    def drain(self, buffers: Buffers) -> int:
        """Fill the buffers with the next records, ordered by t_done; returns the rows. Raises RingLostError."""
        with self._columns.of(buffers) as columns:
            rows = lib.requests_drain(self._ring, self._clock["tsc_start"], self._clock["tsc_khz"], columns)
        self._lost()
        return int(rows)

    def commit(self) -> None:
        """The drained records are in the trace: free their room."""
        lib.rings_commit(self._ring, 1)
