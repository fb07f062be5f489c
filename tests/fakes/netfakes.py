"""What a network device of tests is connected to: sockets that carry a frame, with its header, at a time."""

import socket
import struct
from weakref import finalize

from runner.backends.network import SEGMENTS, Served
from runner.native._native import ffi, lib
from vmspec.registers import virtio as R

HEADER = struct.Struct("<BBHHHHH")  # flags, gso_type, hdr_len, gso_size, csum_start, csum_offset, num_buffers


class Wire(Served):
    """A backend like a tap: ``far[n]`` is the other side of pair ``n``."""

    features = R.NET_CSUM | R.NET_GUEST_CSUM | SEGMENTS

    def __init__(self, queues: int = 1) -> None:
        super().__init__(ffi.addressof(lib, "net_tap"), queues)
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(queues)]
        self.near, self.far = zip(*pairs, strict=True)
        self._closes = finalize(self, _close, pairs)
        for pair, (near, far) in enumerate(pairs):
            near.setblocking(False)
            far.settimeout(20)
            lib.net_attach(self.net, pair, near.fileno())

    def close(self) -> None:
        self._closes()


def _close(pairs: list[tuple[socket.socket, socket.socket]]) -> None:
    for pair in pairs:
        for end in pair:
            end.close()
