"""What a vhost-user back end tells of by itself: messages on a socket of its own, some of which want an answer."""

import socket

from runner.backends.vhost.connection import HEADER, LARGEST, U64, PeerError
from vmspec.registers import vhostuser as V

MOST = 16 * LARGEST  # bytes that are taken in one call: a back end tells of a change now and then


class Channel:
    """The front end's side of it. No call waits. Raises PeerError."""

    def __init__(self) -> None:
        self._socket, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._found = b""  # the beginning of a message whose rest has not come yet

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._socket.fileno()

    def changed(self) -> bool:
        """Whether the back end has told of a change of the configuration since the last call."""
        found, self._found = self._found + self._receive(), b""
        at, changed = 0, False
        while at + HEADER.size <= len(found):
            kind, flags, size = HEADER.unpack_from(found, at)
            if size > LARGEST:
                raise PeerError(f"sends a message {kind} of {size} bytes by itself")
            if at + HEADER.size + size > len(found):
                break
            at += HEADER.size + size
            changed |= kind == V.BACKEND_CONFIG_CHANGE
            if flags & V.NEED_REPLY:
                self._answer(kind)
        self._found = found[at:]
        return changed

    def _receive(self) -> bytes:
        """All that has come."""
        found = b""
        try:
            while piece := self._socket.recv(LARGEST):
                found += piece
                if len(found) > MOST:
                    raise PeerError(f"sends more than {MOST} bytes at once by itself")
        except BlockingIOError:
            pass
        except OSError as error:
            raise PeerError("has closed its own connection") from error
        return found

    def _answer(self, kind: int) -> None:
        code = 0 if kind == V.BACKEND_CONFIG_CHANGE else 1
        message = HEADER.pack(kind, V.VERSION | V.REPLY, U64.size) + U64.pack(code)
        try:
            sent = self._socket.send(message, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise PeerError("has closed its own connection") from error
        if sent < len(message):
            raise PeerError("does not take the answers to what it sends by itself")

    def close(self) -> None:
        """Close it."""
        self._socket.close()
