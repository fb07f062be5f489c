"""Messages between vmrun, the front end, and a vhost-user back end (QEMU, docs/interop/vhost-user.rst)."""

import array
import math
import select
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from vmspec.registers import vhostuser as V

HEADER = struct.Struct("<III")  # request, flags, size
U64 = struct.Struct("<Q")
LARGEST = 4096  # bytes of a message's body that are taken
PATIENCE = 8.0  # seconds that the back end may take to answer, and to finish what it has begun
STARTING = 30.0  # seconds that it may take to answer for the first time


class PeerError(Exception):
    """The back end has gone, or does not keep to the protocol; the message says how, in words that follow "it"."""


class Connection:
    """Messages to a back end and its replies, each awaited for :attr:`patience` seconds. Raises PeerError."""

    def __init__(self, end: socket.socket, patience: float = STARTING) -> None:
        self._socket, self.patience = end, patience
        self._latest = math.inf  # when every message is to be answered, on the monotonic clock
        self.acknowledged = False  # the back end acknowledges each message

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._socket.fileno()

    @contextmanager
    def altogether(self, seconds: float) -> Iterator[float]:
        """The messages of the block take no longer than that, whatever their number. Yields the time, on the monotonic
        clock, until which they may take."""
        self._latest = time.monotonic() + seconds
        try:
            yield self._latest
        finally:
            self._latest = math.inf

    def _deadline(self) -> float:
        return min(time.monotonic() + self.patience, self._latest)

    def tell(self, request: int, body: bytes = b"", descriptors: Sequence[int] = ()) -> None:
        """Send a message that has no reply of its own."""
        self._send(request, V.VERSION | (V.NEED_REPLY if self.acknowledged else 0), body, descriptors)
        if self.acknowledged and (code := U64.unpack(self._reply(request, U64.size))[0]):
            raise PeerError(f"rejects {V.NAMES[request]} with {code:#x}")

    def ask(self, request: int, body: bytes = b"") -> bytes:
        """Send a message and return the body of its reply."""
        self._send(request, V.VERSION, body)
        return self._reply(request)

    def number(self, request: int) -> int:
        """Ask for a number."""
        self._send(request, V.VERSION, b"")
        return int(U64.unpack(self._reply(request, U64.size))[0])

    def _send(self, request: int, flags: int, body: bytes, descriptors: Sequence[int] = ()) -> None:
        passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        self._socket.settimeout(_left(self._deadline()))
        try:
            message = HEADER.pack(request, flags, len(body)) + body
            sent = self._socket.sendmsg([message], passed, socket.MSG_NOSIGNAL)
            self._socket.sendall(message[sent:], socket.MSG_NOSIGNAL)
        except TimeoutError as error:
            raise PeerError(f"does not take {V.NAMES[request]}") from error
        except OSError as error:
            raise PeerError("has closed the connection") from error

    def _reply(self, request: int, size: int | None = None) -> bytes:
        deadline = self._deadline()
        kind, flags, length = HEADER.unpack(self._receive(request, HEADER.size, deadline))
        if kind != request or flags & V.VERSION_MASK != V.VERSION or not flags & V.REPLY:
            raise PeerError(f"answers {V.NAMES[request]} with a message {kind} and flags {flags:#x}")
        if length > LARGEST or (size is not None and length != size):
            raise PeerError(f"answers {V.NAMES[request]} with {length} bytes")
        return self._receive(request, length, deadline)

    def _receive(self, request: int, size: int, deadline: float) -> bytes:
        found = b""
        while len(found) < size:
            try:
                self._socket.settimeout(_left(deadline))
                piece = self._socket.recv(size - len(found))  # descriptors that come along are closed
            except TimeoutError as error:
                raise PeerError(f"does not answer {V.NAMES[request]}") from error
            except OSError as error:
                raise PeerError("has closed the connection") from error
            if not piece:
                raise PeerError("has closed the connection")
            found += piece
        return found

    def closed(self) -> bool:
        """Whether the other side has closed it."""
        poll = select.poll()
        poll.register(self._socket, select.POLLRDHUP)
        return bool(poll.poll(0))

    def close(self) -> None:
        """Close it."""
        self._socket.close()


def _left(deadline: float) -> float:
    """The seconds until then; some, as none would not wait at all."""
    return max(deadline - time.monotonic(), 0.001)
