"""Host input of devices: the loop reads it, as far as it is wanted, and the device thread gives it to the guest."""

import os
import signal
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from runner.backends.terminal import Escapes, Raw, anew
from runner.loop import Loop
from vmspec.host.threads import Worker

PIECE = 4096  # bytes of one read
AHEAD = 1 << 20  # bytes that may be typed ahead of the guest
# Seconds after which it is looked whether the terminal has become ours: a shell's `fg` tells a running job nothing, and
# no descriptor does. It is the one thing that a run looks at again and again, while it is a terminal's background job.
LOOK = 0.25
PATIENCE = 1.0  # seconds that a file may keep its reader once the run has ended


class Guest(Protocol):
    """The device at the other end. ``call`` has the device thread do something; all else is called by that thread."""

    def call(self, errand: Callable[[], None]) -> None:
        """Have the device thread call ``errand``."""

    def room(self, later: Callable[[], None]) -> int:
        """How many bytes the device takes now; where it takes none, the device thread calls ``later`` once it does."""

    def receive(self, data: bytes) -> None:
        """Give it as many, or fewer."""


class Input:
    """Gives what a descriptor has to the guest as fast as that has room, until the end of the file or :meth:`stop`.

    ``terminal`` is what it reads, where that is a terminal, whose escapes are for ``command``: that one is always read,
    so that its escape works while the guest takes nothing; a pipe or file waits for the guest.
    """

    def __init__(self, fd: int, terminal: Raw | None, guest: Guest, command: Callable[[str], None], loop: Loop) -> None:
        self._terminal = terminal
        self._escapes = Escapes() if terminal is not None else None
        self._guest, self._command, self._loop = guest, command, loop
        self._given = fd
        self._fd = fd  # what is read
        self._pump: Pump | None = None
        self._closed = False  # the file has come to its end
        self._lock = threading.Lock()  # of what follows
        self._waiting = bytearray()  # what the guest has not had room for
        self._held = False  # nothing is read until it has

    def start(self) -> None:
        """Read from now on. Raises ThreadError where a file's reader cannot be started."""
        if stat.S_ISFIFO(os.fstat(self._given).st_mode) or os.isatty(self._given):
            self._fd = anew(self._given, os.O_RDONLY) or self._given  # others may read it too: it is not waited for
        if self._terminal is not None:
            self._loop.each_wake(self._listen)  # this job may have been stopped, and go on in the background
        try:
            self._listen()
        except PermissionError:
            self._fd, sink = os.pipe2(os.O_CLOEXEC)
            self._pump = Pump(self._given, sink)
            self._pump.start()
            self._listen()

    def _listen(self) -> None:
        """Wait for input where it may be read now, else for a terminal to become ours."""
        if self._fd < 0 or self._held or self._closed:
            return
        if self._ours():
            self._loop.watch(self._fd, self._ready)
        else:
            self._loop.unwatch(self._fd)
            self._loop.after(LOOK, self._listen)

    def _ours(self) -> bool:
        """Whether the descriptor may be read now."""
        return self._terminal is None or self._terminal.take()

    def _ready(self) -> None:
        if not self._ours():
            self._listen()
            return
        data = self._read()
        if data is None:
            self._closed = True
            self._loop.unwatch(self._fd)
            return
        if not data:
            return
        with self._lock:
            self._waiting += data
            self._held = self._escapes is None or len(self._waiting) >= AHEAD
            if self._held:
                self._loop.unwatch(self._fd)
        self._guest.call(self._give)

    def _read(self) -> bytes | None:
        """The next input without its escapes; None at the end of the file."""
        # Another job may take the terminal between our looking and our reading, which fails then, rather than stops us.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTIN])
        try:
            data = os.read(self._fd, PIECE)
        except BlockingIOError:  # another reader was quicker
            return b""
        except OSError:
            return None if self._ours() else b""
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if self._escapes is None or not data:
            return data or None
        rest, commands = self._escapes.filter(data)
        for command in commands:
            self._command(command)
        return rest

    def _give(self) -> None:
        """Called by the device thread: hand over what there is room for, and go on reading once all is."""
        while room := self._guest.room(self._give):
            with self._lock:
                piece = bytes(self._waiting[:room])
                del self._waiting[:room]
                if self._held and not self._waiting and self._fd >= 0:
                    self._held = False
                    self._loop.watch(self._fd, self._ready)
            if not piece:
                return
            self._guest.receive(piece)

    def stop(self) -> None:
        """Read no more; a second time there is nothing to do. The device thread has ended."""
        if self._fd < 0:
            return
        self._loop.unwatch(self._fd)
        self._loop.after(None, self._listen)
        if self._fd != self._given:
            os.close(self._fd)
        self._fd = -1
        if self._pump is not None:
            self._pump.wait(PATIENCE)


class Pump(Worker):
    """Reads a file, which cannot be waited for, into a pipe, which can, until nobody reads that any more."""

    def __init__(self, source: int, sink: int) -> None:
        super().__init__("input")
        self._source, self._sink = source, sink

    def start(self) -> None:
        """Start the thread, whose ``sink`` is. Raises ThreadError."""
        try:
            super().start()
        except OSError:
            os.close(self._sink)
            raise

    def work(self) -> None:
        """Read and write."""
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGPIPE])  # a program of the user's own may die of it
        try:
            with suppress(OSError):  # which end it is does not matter
                while data := os.read(self._source, PIECE):
                    view = memoryview(data)
                    while view:
                        view = view[os.write(self._sink, view) :]
        finally:
            os.close(self._sink)
