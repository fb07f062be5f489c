"""What a network device of tests is connected to: sockets that carry a frame, with its header, at a time."""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
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


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """A socket at a path, for devices that connect."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        yield server


def framed(frame: bytes) -> bytes:
    """A frame as it is on a stream."""
    return len(frame).to_bytes(4, "big") + frame


def received(peer: socket.socket) -> bytes:
    """The next frame of a stream."""
    size = int.from_bytes(peer.recv(4, socket.MSG_WAITALL), "big")
    return peer.recv(size, socket.MSG_WAITALL)


class Answers(threading.Thread):
    """Listens at a path for a device on a stream socket. It sends each frame back, after a random time, with a random
    number of others before it; ``heard`` has what came."""

    def __init__(self, path: Path, random: Random, others: int = 2, slow: float = 0.002) -> None:
        super().__init__(daemon=True)
        self.heard: list[bytes] = []
        self._random, self._others, self._slow = random, others, slow
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()

    def run(self) -> None:
        end = self._server.accept()[0]
        with end, self._server, end.makefile("rb") as frames, suppress(ConnectionResetError):  # it has not read all
            while prefix := frames.read(4):
                frame = frames.read(int.from_bytes(prefix, "big"))
                self.heard.append(frame)
                time.sleep(self._random.random() * self._slow)
                sizes = [self._random.randrange(14, 100) for _ in range(self._random.randint(0, self._others))]
                sent = [*map(self._random.randbytes, sizes), frame]
                with suppress(BrokenPipeError):  # it is gone
                    end.sendall(b"".join(map(framed, sent)))
