"""The console: all text that devices print, forwarded, kept, and held against what the spec expects."""

import errno
import os
import select
import threading
import time
from collections.abc import Callable, Sequence

from runner.backends.terminal import anew
from runner.loop import Latch

KEPT = 4 << 20  # bytes of console a result carries at most, the newest; the trace has all of it
PATIENCE = 1.0  # seconds that readers may stall in all, once the run has ended
PIECE = 512  # POSIX: a pipe that polls writable takes this much (PIPE_BUF's least value) without blocking


class ConsoleClosed(OSError):
    """The console cannot be written any more."""

    @property
    def unread(self) -> bool:
        """Whether that is because its reader has gone, as a closed pipe's or a hung-up terminal's."""
        return self.errno in (errno.EPIPE, errno.EIO, errno.ECONNRESET)


class Output:
    """A host file descriptor that text goes to. A reader that stalls holds up the guest, never the end of the run:
    once ``stopping`` is set, what cannot be written within a second is given up."""

    def __init__(self, fd: int, stopping: Latch) -> None:
        # A terminal that polls writable may have room for less, and what writes more to it waits; where it cannot be
        # opened anew, to be written without waiting, a byte always fits.
        terminal = os.isatty(fd)
        own = anew(fd, os.O_WRONLY) if terminal else None
        self.fd = fd if own is None else own
        self.order = threading.Lock()  # held by a printer, so that the text is kept and written in one order
        self._piece = 1 if terminal and own is None else PIECE
        self._opened = own is not None
        self._stopping = stopping
        self._patience = PATIENCE  # what is left of it

    def write(self, data: bytes) -> None:
        """Write all of it; raises :class:`ConsoleClosed` when the reader is gone."""
        poll = select.poll()  # one of each call: two threads may write
        poll.register(self.fd, select.POLLOUT)
        poll.register(self._stopping, select.POLLIN)
        stopping = False
        view = memoryview(data)
        while view:
            begin = time.monotonic()
            ready = [fd for fd, _ in poll.poll(1000 * self._patience if stopping else None)]
            if stopping:
                self._patience = max(0.0, self._patience - (time.monotonic() - begin))
            if self.fd not in ready:
                if stopping:
                    return
                stopping = True
                poll.unregister(self._stopping)
                continue
            try:
                view = view[os.write(self.fd, view[: self._piece]) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise ConsoleClosed(error.errno, error.strerror) from None

    def close(self) -> None:
        """Close what was opened here; the descriptor that was given stays its owner's."""
        if self._opened:
            os.close(self.fd)
            self._opened = False


class Watch:
    """Follows a stream and says which of the expected texts have come, in their order, and which unwanted ones.

    Carriage returns are left out of the comparison, on both sides, so that a text may span lines.
    """

    def __init__(self, console: Sequence[str], absent: Sequence[str]) -> None:
        self._wanted = [text.encode().replace(b"\r", b"") for text in console]
        self._unwanted = [text.encode().replace(b"\r", b"") for text in absent]
        self._found = 0
        self._seen: set[int] = set()
        self._rest = b""  # what a wanted text may still begin in
        self._tail = b""  # the same for the unwanted ones
        self._reach = max((len(text) for text in self._unwanted), default=1) - 1

    def feed(self, data: bytes) -> None:
        """The next bytes of the stream."""
        data = data.replace(b"\r", b"")
        rest = self._rest + data
        while self._found < len(self._wanted):
            text = self._wanted[self._found]
            at = rest.find(text)
            if at < 0:
                rest = rest[max(0, len(rest) - len(text) + 1) :]
                break
            rest = rest[at + len(text) :]
            self._found += 1
        self._rest = rest if self._found < len(self._wanted) else b""
        tail = self._tail + data
        self._seen |= {number for number, text in enumerate(self._unwanted) if text and text in tail}
        self._tail = tail[max(0, len(tail) - self._reach) :]

    def missing(self) -> list[str]:
        """The expected texts that have not come."""
        return [text.decode() for text in self._wanted[self._found :]]

    def unwanted(self) -> list[str]:
        """The unwanted texts that have."""
        return [self._unwanted[number].decode() for number in sorted(self._seen)]


class Console:
    """Keeps what devices print and feeds the watch; :meth:`printer` makes a device's output."""

    def __init__(self, watch: Watch, closed: Callable[[ConsoleClosed], None]) -> None:
        self.watch = watch
        self.failure: ConsoleClosed | None = None  # what ended the writing
        self._closed = closed
        self._kept = bytearray()
        self._lock = threading.Lock()

    def printer(self, output: Output | None) -> Callable[[bytes], None]:
        """What a device calls with its text; it goes to ``output`` too, where there is one."""
        open_output = output

        def write(data: bytes) -> None:
            nonlocal open_output
            if open_output is None:
                self._keep(data)
                return
            with open_output.order:
                self._keep(data)
                try:
                    open_output.write(data)
                except ConsoleClosed as error:
                    open_output = None
                    self.failure = error
                    self._closed(error)

        return write

    def _keep(self, data: bytes) -> None:
        with self._lock:
            self._kept += data
            if len(self._kept) > 2 * KEPT:
                del self._kept[:-KEPT]
            self.watch.feed(data)

    def text(self) -> bytes:
        """What was printed, the newest 4 MiB of it."""
        with self._lock:
            return bytes(self._kept[-KEPT:])
