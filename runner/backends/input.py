"""Host input for devices: the loop reads it, the device thread passes it to the guest as the device has room."""

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
AHEAD = 1 << 20  # bytes that may wait for the guest
# Seconds between two looks at whether this background job has become the terminal's foreground job. A shell's `fg`
# sends a running job no signal, and no descriptor reports it. Nothing else in a run is polled.
LOOK = 0.25
PATIENCE = 1.0  # seconds that a file's reader thread may outlive the run


class Guest(Protocol):
    """The device at the other end. ``call`` makes the device thread call something, or with virtual time the vCPU's
    thread; only that thread calls ``room`` and ``receive``."""

    def call(self, errand: Callable[[], None]) -> None:
        """Make that thread call ``errand``."""

    def end(self) -> None:
        """There is no more input."""

    def room(self, later: Callable[[], None]) -> int:
        """Return how many bytes the device takes now. If it takes none, the device thread calls ``later`` once it
        does."""

    def receive(self, data: bytes) -> None:
        """Pass on at most as many bytes as :meth:`room` returned."""


class Input:
    """Passes input from a descriptor to the guest as the device has room, until the end of the file or :meth:`stop`.

    ``terminal`` is the terminal that the descriptor is, if it is one. Its escapes go to ``command``. A terminal is
    always read, so that its escapes work while the guest takes nothing. A pipe or a file is read only as the guest has
    room, unless it is read ``ahead``, so that its end is noticed. One read takes at most ``piece`` bytes: of a socket
    that keeps the boundaries of messages, one message, which the guest gets as a whole if it has room for any.
    """

    def __init__(
        self,
        fd: int,
        terminal: Raw | None,
        guest: Guest,
        command: Callable[[str], None],
        loop: Loop,
        ahead: bool = False,
        piece: int = PIECE,
    ) -> None:
        self._terminal = terminal
        self._escapes = Escapes() if terminal is not None else None
        self._ahead = ahead or terminal is not None
        self._guest, self._command, self._loop = guest, command, loop
        self._given, self._piece = fd, piece
        self._fd = fd  # the descriptor that is read
        self._pump: Pump | None = None
        self._closed = False  # the end of the file was reached
        self._lock = threading.Lock()  # guards what follows
        self._waiting = bytearray()  # input that the guest had no room for yet
        self._held = False  # reading waits until the guest has taken it

    def start(self) -> None:
        """Start reading. Raises ThreadError if a file's reader thread cannot be started."""
        if stat.S_ISFIFO(os.fstat(self._given).st_mode) or os.isatty(self._given):
            self._fd = anew(self._given, os.O_RDONLY) or self._given  # others may read it too, so a read must not block
        if self._terminal is not None:
            self._loop.each_wake(self._listen)  # this job may be stopped, and continue in the background
        try:
            self._listen()
        except PermissionError:
            self._fd, sink = os.pipe2(os.O_CLOEXEC)
            self._pump = Pump(self._given, sink)
            self._pump.start()
            self._listen()

    def _listen(self) -> None:
        """Wait for input if it may be read now, else for this job to become the terminal's foreground job."""
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
            self._guest.end()
            return
        if not data:
            return
        with self._lock:
            self._waiting += data
            self._held = not self._ahead or len(self._waiting) >= AHEAD
            if self._held:
                self._loop.unwatch(self._fd)
        self._guest.call(self._give)

    def _read(self) -> bytes | None:
        """Read the next input, without its escapes; None at the end of the file."""
        # Another job may take the terminal between the check and the read. The read then fails instead of stopping us.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTIN])
        try:
            data = os.read(self._fd, self._piece)
        except BlockingIOError:  # another reader took it
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
        """Hand over what the guest has room for; read on once all is taken. Called by the device thread."""
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

    @property
    def open(self) -> bool:
        """Whether more may come."""
        return self._fd >= 0 and not self._closed

    def stop(self) -> None:
        """Stop reading; the guest still gets what was read. A second call does nothing."""
        with self._lock:
            fd, self._fd = self._fd, -1
            if fd < 0:
                return
            self._loop.unwatch(fd)
        self._loop.after(None, self._listen)
        if fd != self._given:
            os.close(fd)
        if self._pump is not None:
            self._pump.wait(PATIENCE)


class Pump(Worker):
    """Copies a file, which epoll cannot wait for, into a pipe, which it can, until the pipe has no reader."""

    def __init__(self, source: int, sink: int) -> None:
        super().__init__("input")
        self._source, self._sink = source, sink

    def start(self) -> None:
        """Start the thread, which writes to ``sink`` and owns it. Raises ThreadError."""
        try:
            super().start()
        except OSError:
            os.close(self._sink)
            raise

    def work(self) -> None:
        """Copy until the end of the file."""
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGPIPE])  # a user's own program may receive it and die
        try:
            with suppress(OSError):  # either end may have closed
                while data := os.read(self._source, PIECE):
                    view = memoryview(data)
                    while view:
                        view = view[os.write(self._sink, view) :]
        finally:
            os.close(self._sink)
