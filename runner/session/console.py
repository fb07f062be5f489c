"""The console: all text that devices print. It is forwarded, kept, and passed to what compares it."""

import errno
import os
import select
import threading
import time
from collections.abc import Callable

from runner.backends.terminal import anew
from runner.loop import Latch
from runner.machine.result import Ending

KEPT = 4 << 20  # newest bytes of the console in a result, at most; the trace has all of them
PATIENCE = 1.0  # seconds that readers may stall in all, once the run has ended
PIECE = 512  # POSIX: a pipe that polls writable takes this much (PIPE_BUF's minimum) without blocking


class ConsoleClosed(OSError):
    """The console can no longer be written."""

    @property
    def unread(self) -> bool:
        """Whether its reader has gone: a closed pipe or a terminal that hung up."""
        return self.errno in (errno.EPIPE, errno.EIO, errno.ECONNRESET)


class Output:
    """A host file descriptor that text goes to. A reader that stalls holds up the guest but never the end of the run:
    once ``stopping`` is set, what cannot be written within a second is dropped."""

    def __init__(self, fd: int, stopping: Latch) -> None:
        # A terminal that polls writable may have room for less, and writing more blocks. If it cannot be opened again
        # without blocking, write single bytes, which always fit.
        terminal = os.isatty(fd)
        own = anew(fd, os.O_WRONLY) if terminal else None
        self.fd = fd if own is None else own
        self.order = threading.Lock()  # held while printing, so that text is kept and written in the same order
        self._piece = 1 if terminal and own is None else PIECE
        self._opened = own is not None
        self._stopping = stopping
        self._patience = PATIENCE  # the rest of that time

    def write(self, data: bytes) -> None:
        """Write all of it; raises :class:`ConsoleClosed` when the reader has gone."""
        poll = select.poll()  # one poll object per call: two threads may write
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
        """Close the descriptor opened here; the owner closes the one that was given."""
        if self._opened:
            os.close(self.fd)
            self._opened = False


class Console:
    """Keeps the text that devices print and passes it to ``watch``; :meth:`printer` makes a device's output."""

    def __init__(self, watch: Callable[[bytes], None] | None, closed: Callable[[ConsoleClosed], None]) -> None:
        self._watch = watch
        self.failure: ConsoleClosed | None = None  # the error that ended the writing
        self._closed = closed
        self._kept = bytearray()
        self._lock = threading.Lock()

    def printer(self, output: Output | None) -> Callable[[bytes], None]:
        """The function that a device calls with its text; the text also goes to ``output``, if there is one."""
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
            if self._watch is not None:
                self._watch(data)

    def text(self) -> bytes:
        """The text printed, the newest 4 MiB of it."""
        with self._lock:
            return bytes(self._kept[-KEPT:])


def console_ending(error: ConsoleClosed) -> Ending:
    """How a run ends whose console cannot be written."""
    if error.unread:
        return Ending("console-closed", detail="nobody reads the console any more")
    return Ending("console-failed", detail=f"the console cannot be written: {error.strerror}")
