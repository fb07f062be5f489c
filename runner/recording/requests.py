"""The record of the requests to virtio devices: the VMM's side. :mod:`runner.recording.source` has the recorder's."""

from typing import Any

from runner.native import _native

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
