"""The socket device (virtio 1.2, 5.10): streams between the guest and the host. C serves its queues:
runner/native/vsock.c."""

from collections.abc import Mapping
from typing import Any, Protocol

from runner.devices.device import Board
from runner.devices.services import Native
from runner.devices.state import State
from runner.devices.virtio.device import VirtioDevice
from vmspec.registers import virtio as R


class Sockets(Protocol):
    """The host's side of the connections."""

    native: Native

    def reset(self, announce: bool = False) -> None:
        """Close all connections, and tell the driver once it can hear it, or not. The data path rests."""

    def close(self) -> None:
        """Close all, and remove the socket at which the host connects."""


class Vsock(VirtioDevice):
    """Sockets for the guest. ``cid`` is its address."""

    number = R.SOCKET
    queue_kinds = ("receive", "transmit", "event")
    queue_sizes = (256, 256, 16)
    features = R.VSOCK_STREAM

    def __init__(self, sockets: Sockets, cid: int) -> None:
        self._sockets, self._cid = sockets, cid

    @classmethod
    def make(cls, options: Mapping[str, Any], board: Board) -> "Vsock":
        return cls(board.backend(), options["cid"])

    def native(self) -> Native:
        return self._sockets.native

    def configuration(self) -> bytes:
        return self._cid.to_bytes(8, "little")

    def reset(self) -> None:
        self._sockets.reset()

    def load(self, state: State) -> None:
        """Connections are not saved: the driver learns from an event that they are gone (5.10.6.7)."""
        self._sockets.reset(announce=True)

    def close(self) -> None:
        self._sockets.close()
