"""What is behind a network device of a machine with virtual time: a backend that never waits for the guest, nor the
guest for it."""

import os
import socket
from collections.abc import Mapping
from typing import Any

from runner.backends.errors import BackendError
from runner.backends.network import Served, features
from runner.native._native import ffi, lib

ROOM = 1 << 20  # bytes that may be on their way in each direction; the kernel may allow less


class Relayed(Served):
    """The link of such a device. C serves its queues in the vCPU's thread (runner/native/netrelay.c).

    What the driver sends goes through a socket to a thread that serves the ``backend``. What comes from there can be
    read from :attr:`source`, a frame with its header at a time. It is for the caller, who records it, to
    :meth:`give`. Without a backend, what the driver sends goes nowhere. The link is up as long as the machine lives.
    """

    def __init__(self, options: Mapping[str, Any], backend: Served | None = None) -> None:
        """Owns the backend, once it is made. ``options`` are the device's. Raises BackendError."""
        super().__init__(ffi.addressof(lib, "net_relay"), 1)
        self.features = features(options)
        self.trouble = -1  # an eventfd, written when somebody should :meth:`look`
        self._backend = backend
        self._ends: tuple[socket.socket, ...] = ()
        try:
            if backend is not None:
                self._start(backend)
        except OSError as error:
            self.close()
            raise BackendError("", f"cannot pass its frames on: {error.strerror}") from error

    def _start(self, backend: Served) -> None:
        self._ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in self._ends:
            end.setblocking(False)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ROOM)
        self.trouble = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        near, far = self._ends
        lib.net_attach(self.net, 0, near.fileno())
        if error := lib.net_relay_open(self.net, backend.net, far.fileno(), self.trouble):
            raise OSError(error, os.strerror(error))

    @property
    def source(self) -> int:
        """The socket with the frames that come from outside, which does not block."""
        return self._ends[0].fileno()

    def room(self) -> int:
        return int(lib.net_relay_room(self.net))

    def give(self, frame: bytes) -> None:
        lib.net_relay_give(self.net, frame, len(frame))

    @property
    def waiting(self) -> bytes:
        size = ffi.new("uint32_t *")
        frame = lib.net_relay_waiting(self.net, size)
        return bytes(ffi.buffer(frame, size[0])) if size[0] else b""

    def agree(self, features: int) -> None:
        if self._backend is not None:
            self._backend.agree(features)

    def look(self) -> None:
        if self._backend is not None:
            self._backend.look()

    def counts(self) -> dict[str, int]:
        """All that the driver has sent has gone to the backend."""
        if self._backend is None:
            return super().counts()
        lib.net_relay_settle(self.net)
        ours, theirs = super().counts(), self._backend.counts()
        return {name: theirs[name] + (0 if name == "sent" else count) for name, count in ours.items()}

    def close(self) -> None:
        lib.net_relay_close(self.net)
        if self._backend is not None:
            self._backend.close()
        trouble, self.trouble = self.trouble, -1
        if trouble >= 0:
            os.close(trouble)
        ends, self._ends = self._ends, ()
        for end in ends:
            end.close()
