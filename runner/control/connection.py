"""A client's connection, in the server. Whatever the client does, its buffers are bounded and nothing waits for it."""

import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from runner.control.protocol import LONGEST, Malformed, Request, decode, encode, refusal
from runner.loop import Loop

Taker = Callable[[socket.socket], None]  # takes a connection over
GAP = 0.005  # seconds between two requests of a client: one that floods must not keep the loop busy


class Connection:
    """Reads a client's requests, one after the other, and sends what :meth:`say` is given.

    It reads only while nothing is to be sent and no request is under way: a client that does not read its answers is
    not read either. ``asked`` is called with each request, ``closed`` at the end. All in the loop's thread.
    """

    def __init__(
        self,
        end: socket.socket,
        loop: Loop,
        asked: Callable[["Connection", Request], None],
        closed: Callable[["Connection"], None],
    ) -> None:
        self.active = time.monotonic()  # when the client last sent something
        self.waits = False  # a request is under way
        self.open = True  # further requests are taken
        self._end, self._loop, self._asked, self._closed = end, loop, asked, closed
        self._fd = end.fileno()
        self._input, self._output = bytearray(), bytearray()
        self._latest = 0.0  # when the last request was taken
        self._over = False  # what is to be sent is the last
        self._taker: Taker | None = None  # once all is sent
        self._watch()

    def say(self, message: Mapping[str, Any], last: bool = False) -> None:
        """Send a message; ``last``: then close the connection."""
        self._output += encode(message)
        self._over |= last
        self._send()

    def answer(self, message: Mapping[str, Any], taker: Taker | None = None) -> None:
        """Send the answer to the request that is under way, and go on reading. With ``taker``, give it the connection
        instead."""
        self.waits = False
        self._taker = taker
        self.say(message)
        self._next()

    def finish(self, seconds: float) -> None:
        """Send the rest, for so long at most, and close the connection."""
        if self._fd >= 0 and self._output:
            self._end.settimeout(seconds)
            with suppress(OSError):  # the client does not read it
                self._end.sendall(self._output)
        self.close()

    def close(self) -> None:
        """Close the connection. A second call does nothing."""
        if self._fd >= 0:
            self._loop.unwatch(self._fd)
            self._loop.after(None, self._next)
            self._fd = -1
            self._end.close()
            self._closed(self)

    def _hand_over(self, taker: Taker) -> None:
        """What the client has sent without waiting for the answer is lost."""
        self._loop.unwatch(self._fd)
        self._fd = -1
        self._closed(self)
        taker(self._end)

    def _watch(self) -> None:
        if self._fd < 0:
            return
        self._loop.unwatch(self._fd)
        if self._output:
            self._loop.watch(self._fd, self._send, write=True)
        elif not self.waits and b"\n" not in self._input:
            self._loop.watch(self._fd, self._receive)

    def _send(self) -> None:
        try:
            while self._output and self._fd >= 0:
                del self._output[: self._end.send(self._output)]
        except BlockingIOError:
            pass
        except OSError:
            self.close()
        if self._over and not self._output:
            self.close()
        if self._taker is not None and not self._output and self._fd >= 0:
            self._hand_over(self._taker)
        self._watch()
        if not self._output:
            self._next()

    def _receive(self) -> None:
        try:
            data = self._end.recv(LONGEST)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self.active = time.monotonic()
        self._input += data
        self._next()

    def _next(self) -> None:
        """Take the next request, if there is one and it is time."""
        if self.waits or self._output or self._over or self._fd < 0 or not self.open:
            return
        line, newline, rest = self._input.partition(b"\n")
        if len(line) >= LONGEST:
            self.say(refusal(None, Malformed(f"a request is longer than {LONGEST} bytes")), last=True)
            return
        if newline and (wait := self._latest + GAP - time.monotonic()) > 0:
            self._loop.after(wait, self._next)
        elif newline:
            self._latest = time.monotonic()
            self._input = rest
            self._take(bytes(line))
        self._watch()

    def _take(self, line: bytes) -> None:
        if not line.strip():
            self._loop.after(0, self._next)
            return
        try:
            request = decode(line)
        except Malformed as error:
            self.say(refusal(error.id, error))
            return
        self.waits = True
        self._asked(self, request)
