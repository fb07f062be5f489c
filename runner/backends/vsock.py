"""The host's side of a virtio socket device: Unix sockets, as in Firecracker.

The host connects to the socket at ``path``, sends ``CONNECT <port>\\n`` and gets ``OK <port>\\n``, or the connection
ends. A connection of the guest's to a port of the host goes to the socket at ``<path>_<port>``.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runner.backends.errors import BackendError
from runner.backends.unixsocket import Listener
from runner.devices.services import Native
from runner.native._native import ffi, lib


class Sockets:
    """See :class:`runner.devices.virtio.vsock.Sockets`."""

    def __init__(self, listener: Listener, cid: int) -> None:
        self._listener = listener
        self._vsock: Any = ffi.new("struct vsock *")
        vsock = self._vsock
        vsock.cid, vsock.listener = cid, listener.fileno()
        address = os.fsencode(listener.address)
        ffi.buffer(vsock.path)[: len(address)] = address
        if error := lib.vsock_open(vsock):
            self.close()
            raise BackendError("path", f"cannot wait for connections: {os.strerror(error)}")
        self.native = Native(ffi.addressof(lib, "vsock_device"), vsock)

    def reset(self, announce: bool = False) -> None:
        """Close all connections, and tell the driver, or not."""
        lib.vsock_reset(self._vsock)
        self._vsock.announce = announce

    def close(self) -> None:
        """Close all. A second call does nothing."""
        lib.vsock_close(self._vsock)
        self._listener.close()


def opened(options: Mapping[str, Any]) -> Sockets:
    """Listen at the path of a device's options. Raises BackendError."""
    return Sockets(Listener(Path(options["path"]), "path"), options["cid"])
