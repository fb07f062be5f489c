"""The network device (virtio 1.2, 5.1). C serves its queues: runner/native/net.c."""

import struct
from collections.abc import Mapping
from typing import Any

from runner.devices.device import Board
from runner.devices.services import Link, Native
from runner.devices.state import State, flag, number, octets
from runner.devices.virtio.device import VirtioDevice
from vmspec.registers import virtio as R

RECEIVE = 0  # the first pair's queue of frames to the driver
SIZE = 256  # of a queue for frames
CONTROL = 64
FRAME = 12 + (68 << 10)  # bytes of the longest, with its header: NET_FRAME in runner/native/net.h
OFFERED = R.NET_MAC | R.NET_MRG_RXBUF | R.NET_STATUS | R.NET_CTRL_VQ | R.NET_CTRL_RX


class NetState(State):
    """How many pairs of queues the driver uses, whether its link is up as far as it knows, and a frame that was given
    and waits for the driver."""

    VERSION = 3

    pairs: int = number(1, 16)
    up: bool = flag()
    frame: bytes = octets(FRAME)


class Net(VirtioDevice):
    """An Ethernet interface. ``queues`` is its number of pairs of queues: one for frames to the driver, one for those
    from it; ``mtu`` None: not said to the driver. With virtual time, its input is frames from outside."""

    number = R.NET
    state_class = NetState

    def __init__(self, link: Link, mac: str, mtu: int | None = None, queues: int = 1) -> None:
        self._link, self._up = link, link.up
        self._mac, self._mtu, self._pairs = bytes.fromhex(mac.replace(":", "")), mtu, queues
        self.queue_sizes = (SIZE,) * (2 * queues) + (CONTROL,)
        self.queue_kinds = ("receive", "transmit") * queues + ("control",)
        self.features = OFFERED | link.features
        self.features |= R.NET_MQ if queues > 1 else 0
        self.features |= R.NET_MTU if mtu is not None else 0

    @classmethod
    def make(cls, options: Mapping[str, Any], board: Board) -> "Net":
        return cls(board.backend(), options["mac"], options["mtu"], options["queues"])

    def configuration(self) -> bytes:
        status = R.NET_LINK_UP if self._up else 0
        return struct.pack("<6sHHH", self._mac, status, self._pairs, self._mtu or 0)

    def native(self) -> Native:
        return self._link.native

    def troubled(self) -> None:
        self._link.look()
        if self._link.up != self._up:
            self._up = not self._up
            self.host.reconfigured()

    def begin(self, features: int) -> None:
        self._link.begin(features)

    def room(self) -> int:
        return self._link.room()

    def receive(self, data: bytes) -> None:
        """Take a frame with its header."""
        self._link.give(data)
        self.host.ring(RECEIVE)

    def reset(self) -> None:
        self._link.reset()
        self._up = self._link.up

    def save(self) -> State:
        return NetState(pairs=self._link.pairs, up=self._up, frame=self._link.waiting)

    def load(self, state: State) -> None:
        assert isinstance(state, NetState)
        self._link.pairs, self._up = min(state.pairs, self._pairs), state.up
        if state.frame:
            self._link.give(state.frame)

    def close(self) -> None:
        self._link.close()
