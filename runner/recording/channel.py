"""Messages with descriptors between the VMM and its recorder, both ways over a Unix socket.

A message is a pickled dictionary. Its length and its number of descriptors come first, then the descriptors, each batch
of them with one byte.
"""

import pickle
import socket
import struct
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple

from vmspec.host.streams import aside

HEADER = struct.Struct("<II")  # bytes of the message, number of descriptors
BATCH = 250  # descriptors that the kernel passes in one message (unix(7), SCM_RIGHTS: 253)


class Message(NamedTuple):
    """A received message. The receiver closes the descriptors."""

    values: dict[str, Any]
    descriptors: list[int]


class Channel:
    """One end. Several threads may write to it; one reads."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._lock = threading.Lock()

    @classmethod
    def pair(cls) -> tuple["Channel", "Channel"]:
        """Both ends. Raises OSError."""
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with one, other:
            ends = [cls(socket.socket(fileno=aside(end.detach()))) for end in (one, other)]
        return ends[0], ends[1]

    def fileno(self) -> int:
        """The descriptor; it is readable when a message has come or the other end has gone. -1 once closed."""
        return self._end.fileno()

    def send(self, values: dict[str, Any], descriptors: Iterable[int] = ()) -> None:
        """Send a message; the sender still closes its own descriptors. Raises OSError, BrokenPipeError if nobody
        reads."""
        data, fds = pickle.dumps(values), list(descriptors)
        with self._lock:
            self._end.sendall(HEADER.pack(len(data), len(fds)))
            for first in range(0, len(fds), BATCH):
                socket.send_fds(self._end, [b"."], fds[first : first + BATCH])
            self._end.sendall(data)

    def receive(self) -> Message | None:
        """Wait for the next message; None if the other end has gone, also in the middle of a message."""
        fds: list[int] = []
        try:
            if (header := self._read(HEADER.size)) is None:
                return None
            size, count = HEADER.unpack(header)
            while len(fds) < count:
                data, some, _, _ = socket.recv_fds(self._end, 1, BATCH)
                if not data:
                    break
                fds += some
            if len(fds) == count and (body := self._read(size)) is not None:
                return Message(pickle.loads(body), fds)
        except ConnectionError:
            pass  # treated like an end that has gone
        for fd in fds:
            socket.close(fd)
        return None

    def _read(self, size: int) -> bytes | None:
        parts = []
        while size:
            part = self._end.recv(min(size, 1 << 20))
            if not part:
                return None
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def finish(self) -> None:
        """Send no more: the other end receives None after the messages sent."""
        with suppress(OSError):
            self._end.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close this end."""
        self._end.close()
