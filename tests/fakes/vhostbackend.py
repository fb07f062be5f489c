"""A vhost-user back end, written from the specification (QEMU, docs/interop/vhost-user.rst): it echoes what it is sent.

As a command, `python3 -m tests.fakes.vhostbackend --listener N | --connection N | --socket PATH [--end-after N]`.
"""

import argparse
import array
import mmap
import os
import select
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

REPLY = 1 | 4
VERSION_1, EVENT_IDX, INDIRECT = 1 << 32, 1 << 29, 1 << 28
PROTOCOL_FEATURES = 1 << 30
MQ, REPLY_ACK, BACKEND_REQ, CONFIG, RESET_DEVICE = 1 << 0, 1 << 3, 1 << 5, 1 << 9, 1 << 13
EVERYTHING = MQ | REPLY_ACK | BACKEND_REQ | CONFIG | RESET_DEVICE
ECHO = 1 << 5  # a feature bit of the device's own


class Region(NamedTuple):
    """A region of memory that the front end has told of."""

    guest: int
    size: int
    user: int
    map: mmap.mmap
    offset: int


class Ring:
    """A queue as the front end has set it up."""

    def __init__(self) -> None:
        self.size = self.base = 0
        self.addresses = (0, 0, 0)  # descriptors, used, available: user addresses
        self.kick = self.call = -1
        self.enabled = False


class FakeBackEnd:
    """Serves one connection in a thread. ``asked`` are the requests that came, ``answers`` replaces the reply to one of
    them: bytes, or a function of the socket that does whatever it likes. ``hold``: chains are taken but not put back
    before :meth:`finish`."""

    def __init__(
        self,
        end: socket.socket,
        features: int = VERSION_1 | EVENT_IDX | INDIRECT | PROTOCOL_FEATURES | ECHO,
        protocol: int = EVERYTHING,
        configuration: bytes = b"configuration",
        queues: int = 2,
    ) -> None:
        self.end, self.features, self.protocol = end, features, protocol
        self.configuration, self.queues = bytearray(configuration), queues
        self.asked: list[int] = []
        self.bodies: dict[int, bytes] = {}
        self.answers: dict[int, bytes | Callable[[socket.socket], Any]] = {}
        self.accepted = self.spoken = 0
        self.rings = [Ring() for _ in range(queues)]
        self.regions: list[Region] = []
        self.channel: socket.socket | None = None
        self.hold = False
        self.held: list[tuple[int, int, int]] = []  # ring, head, written
        self.served = 0
        self.end_after: int | None = None
        self.thread = threading.Thread(target=self.serve, daemon=True)

    def start(self) -> "FakeBackEnd":
        self.thread.start()
        return self

    def serve(self) -> None:
        """Until the connection ends."""
        try:
            while True:
                self.turn()
        except (EOFError, OSError):
            pass
        finally:
            self.close()

    def turn(self) -> None:
        kicks = {ring.kick: index for index, ring in enumerate(self.rings) if ring.kick >= 0 and ring.enabled}
        poll = select.poll()
        for descriptor in (self.end.fileno(), *kicks):
            poll.register(descriptor, select.POLLIN)
        for each, _ in poll.poll():
            if each not in kicks:
                self.message()
            else:
                os.eventfd_read(each)
                self.take(kicks[each])

    def message(self) -> None:
        header, descriptors = self.receive(12)
        request, flags, size = struct.unpack("<III", header)
        body, more = self.receive(size) if size else (b"", [])
        self.asked.append(request)
        self.bodies[request] = body
        if request in self.answers:
            answer = self.answers[request]
            if callable(answer):
                answer(self.end)
            else:
                self.end.sendall(answer)
            return
        reply = self.act(request, body, descriptors + more)
        if reply is None and flags & 8 and self.spoken & REPLY_ACK:
            reply = struct.pack("<Q", 0)
        if reply is not None:
            self.end.sendall(struct.pack("<III", request, REPLY, len(reply)) + reply)

    def receive(self, size: int) -> tuple[bytes, list[int]]:
        descriptors = array.array("i")
        data = b""
        while len(data) < size:
            piece, passed, _, _ = self.end.recvmsg(size - len(data), socket.CMSG_SPACE(4 * 8))
            if not piece:
                raise EOFError
            data += piece
            for level, kind, content in passed:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    descriptors.frombytes(content[: len(content) - len(content) % 4])
        return data, list(descriptors)

    def act(self, request: int, body: bytes, descriptors: list[int]) -> bytes | None:
        words = struct.unpack(f"<{len(body) // 4}I", body[: len(body) // 4 * 4])
        number = int.from_bytes(body[:8], "little")
        match request:
            case 1:
                return struct.pack("<Q", self.features)
            case 2:
                self.accepted = number
            case 15:
                return struct.pack("<Q", self.protocol)
            case 16:
                self.spoken = number
            case 17:
                return struct.pack("<Q", self.queues)
            case 5:
                self.unmap()
                for at in range(words[0]):
                    guest, size, user, offset = struct.unpack_from("<QQQQ", body, 8 + 32 * at)
                    whole = os.fstat(descriptors[at]).st_size
                    self.regions.append(Region(guest, size, user, mmap.mmap(descriptors[at], whole), offset))
                    os.close(descriptors[at])
            case 8:
                self.rings[words[0]].size = words[1]
            case 9:
                self.rings[words[0]].addresses = struct.unpack_from("<QQQ", body, 8)
            case 10:
                self.rings[words[0]].base = words[1]
            case 11:
                ring = self.rings[words[0]]
                if ring.kick >= 0:
                    os.close(ring.kick)
                    ring.kick = -1
                return struct.pack("<II", words[0], ring.base)
            case 12:
                self.rings[number & 0xFF].kick = descriptors[0]
            case 13:
                ring = self.rings[number & 0xFF]
                if ring.call >= 0:
                    os.close(ring.call)
                ring.call = descriptors[0]
            case 18:
                self.rings[words[0]].enabled = bool(words[1])
            case 21:
                self.channel = socket.socket(fileno=descriptors[0])
            case 24:
                offset, size, _ = words[:3]
                return body[:12] + bytes(self.configuration[offset : offset + size].ljust(size, b"\0"))
            case 25:
                offset, size, _ = words[:3]
                self.configuration[offset : offset + size] = body[12 : 12 + size]
        return None

    def unmap(self) -> None:
        for region in self.regions:
            region.map.close()
        self.regions = []

    def memory(self, user: int, size: int) -> memoryview:
        """A range by user address."""
        for region in self.regions:
            if region.user <= user <= region.user + region.size - size:
                at = region.offset + user - region.user
                return memoryview(region.map)[at : at + size]
        raise OSError(f"no memory at {user:#x}")

    def guest(self, address: int, size: int) -> memoryview:
        """A range by guest address."""
        for region in self.regions:
            if region.guest <= address <= region.guest + region.size - size:
                return self.memory(region.user + address - region.guest, size)
        raise OSError(f"no memory at {address:#x}")

    def take(self, index: int) -> None:
        """Take what is in a ring and echo it."""
        ring = self.rings[index]
        descriptors, _, available = ring.addresses
        while ring.base != int.from_bytes(self.memory(available + 2, 2), "little"):
            (head,) = struct.unpack("<H", self.memory(available + 4 + 2 * (ring.base % ring.size), 2))
            ring.base = ring.base + 1 & 0xFFFF
            sent, rooms, at, more = b"", [], head, True
            while more:
                address, length, flags, at = struct.unpack("<QIHH", self.memory(descriptors + 16 * at, 16))
                if flags & 2:
                    rooms.append((address, length))
                else:
                    sent += bytes(self.guest(address, length))
                more = bool(flags & 1)
            written = 0
            for address, length in rooms:
                piece = sent[written : written + length]
                self.guest(address, len(piece))[:] = piece
                written += len(piece)
            self.held.append((index, head, written))
        if not self.hold:
            self.finish()

    def finish(self) -> None:
        """Put back what was taken."""
        while self.held:
            index, head, written = self.held.pop(0)
            ring = self.rings[index]
            used = ring.addresses[1]
            at = int.from_bytes(self.memory(used + 2, 2), "little")
            self.memory(used + 4 + 8 * (at % ring.size), 8)[:] = struct.pack("<II", head, written)
            self.memory(used + 2, 2)[:] = struct.pack("<H", at + 1 & 0xFFFF)
            os.eventfd_write(ring.call, 1)
            self.served += 1
            if self.served == self.end_after:
                raise EOFError

    def change(self, configuration: bytes) -> None:
        """Change the configuration, and tell."""
        self.configuration[:] = configuration
        assert self.channel is not None
        self.channel.sendall(struct.pack("<III", 2, 1, 0))

    def close(self) -> None:
        self.end.close()
        if self.channel is not None:
            self.channel.close()
        for ring in self.rings:
            for descriptor in (ring.kick, ring.call):
                if descriptor >= 0:
                    os.close(descriptor)
            ring.kick = ring.call = -1
        self.unmap()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--listener", type=int)
    parser.add_argument("--connection", type=int)
    parser.add_argument("--socket", type=Path)
    parser.add_argument("--end-after", type=int, help="end after so many requests, with status 7")
    parser.add_argument("--kill-after", type=int, help="be killed after so many requests")
    parser.add_argument("--fail", help="end at once with status 7, after printing this")
    parser.add_argument("--child", action="store_true", help="have a child that does not end by itself")
    arguments = parser.parse_args()
    if arguments.fail:
        print(arguments.fail, file=sys.stderr)
        sys.exit(7)
    if arguments.child and os.fork() == 0:
        time.sleep(600)
        os._exit(0)
    if arguments.connection is not None:
        end = socket.socket(fileno=arguments.connection)
    else:
        if arguments.listener is not None:
            listener = socket.socket(fileno=arguments.listener)
        else:
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listener.bind(str(arguments.socket))
            listener.listen(1)
        end = listener.accept()[0]
    back_end = FakeBackEnd(end)
    back_end.end_after = arguments.end_after or arguments.kill_after
    back_end.serve()
    if arguments.kill_after is not None:
        os.kill(os.getpid(), signal.SIGKILL)
    sys.exit(7 if arguments.end_after is not None else 0)


if __name__ == "__main__":
    main()
