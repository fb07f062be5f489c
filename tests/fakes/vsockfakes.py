"""The host's side of a virtio socket device on a host without sockets."""

from typing import Any

from runner.devices.services import Native
from runner.native._native import ffi, lib


class NoSockets:
    """See :class:`runner.devices.virtio.vsock.Sockets`: nobody connects, and nobody listens."""

    def __init__(self, cid: int) -> None:
        self._vsock: Any = ffi.new("struct vsock *")
        self._vsock.cid, self._vsock.listener, self._vsock.events = cid, -1, -1
        self.native = Native(ffi.addressof(lib, "vsock_device"), self._vsock)

    def reset(self, announce: bool = False) -> None:
        lib.vsock_reset(self._vsock)
        self._vsock.announce = announce

    def close(self) -> None:
        lib.vsock_close(self._vsock)
