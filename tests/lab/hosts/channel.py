"""Byte streams between the lab and an emulated host, and the host's console."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import termios
import threading
import time
import tty
from collections.abc import Iterator

GRACE = 10  # seconds for output to drain after the end
TAIL = 4096  # bytes of the console to show when the lab fails


class Channel:
    """A byte stream between us and one of the emulator's character devices: a pair of sockets."""

    def __init__(self, name: str) -> None:
        self.name = name
        ours, theirs = socket.socketpair()
        self.ours, self.theirs = ours.detach(), theirs.detach()
        self.received = 0  # bytes that came and were passed on
        self._thread: threading.Thread | None = None

    def pass_on(self, fd: int) -> None:
        """From now on write what comes to a file descriptor."""
        self._thread = threading.Thread(target=self._receive, args=(fd,), daemon=True)
        self._thread.start()

    def feed(self, fd: int, *, stop: bytes | None = None) -> None:
        """From now on send what a file descriptor gives; `stop` in it interrupts the program."""
        threading.Thread(target=self._send, args=(fd, stop), daemon=True).start()

    def send(self, data: bytes) -> None:
        """Send all of it, unless the emulator has ended."""
        with contextlib.suppress(OSError):
            write(self.ours, data)

    def wait(self, received: int) -> None:
        """Until so many bytes have been passed on, or the emulator has ended."""
        while self.received < received and self._thread and self._thread.is_alive():
            time.sleep(0.001)

    def started(self) -> None:
        """The emulator has its end: close ours of it, so that its end is seen."""
        if self.theirs >= 0:
            os.close(self.theirs)
            self.theirs = -1

    def finish(self) -> None:
        """Until what the emulator left behind has been passed on."""
        self.started()
        if self._thread:
            self._thread.join(GRACE)

    def hang_up(self) -> None:
        """There is no more to send."""
        socket.socket(fileno=os.dup(self.ours)).shutdown(socket.SHUT_WR)

    def _receive(self, fd: int) -> None:
        try:
            while data := read(self.ours):
                write(fd, data)
                self.received += len(data)
        except BrokenPipeError:
            os.kill(os.getpid(), signal.SIGPIPE)

    def _send(self, fd: int, stop: bytes | None) -> None:
        with contextlib.suppress(OSError):  # the emulator has ended
            while data := os.read(fd, 1 << 12):
                if stop is not None and stop in data:
                    os.kill(os.getpid(), signal.SIGINT)
                write(self.ours, data)
            self.hang_up()


class Line(Channel):
    """A serial line: a pseudo-terminal, whose name the emulator opens."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ours, self.theirs = os.openpty()
        tty.setraw(self.theirs)
        self.path = os.ttyname(self.theirs)
        self.received = 0
        self._thread = None

    def started(self) -> None:
        """The emulator has opened the line, and has set it up in a way of its own: bytes are to pass as they are."""
        if self.theirs >= 0:
            tty.setraw(self.theirs)
        super().started()

    def hang_up(self) -> None:
        """A line has no end."""


class Console:
    """The emulated host's console: kept in memory to explain a failure."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("console")

    def explain(self, problem: str) -> str:
        """The problem and the end of the console."""
        return f"lab: {problem}; the end of its console:\n{self.tail()}"

    def tail(self) -> str:
        """The end of the console."""
        text = os.pread(self.fd, TAIL, max(0, os.fstat(self.fd).st_size - TAIL)).decode(errors="replace")
        return text.replace("\r", "")


def read(fd: int) -> bytes:
    """What has come; nothing once the other end is closed."""
    try:
        return os.read(fd, 1 << 16)
    except (ConnectionResetError, BlockingIOError):
        return b""
    except OSError:  # EIO: nobody has the pseudo-terminal open
        return b""


def write(fd: int, data: bytes) -> None:
    """All of it."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


@contextlib.contextmanager
def raw_terminal() -> Iterator[None]:
    """This process' terminal passes every key on."""
    saved = termios.tcgetattr(0)
    tty.setraw(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, saved)
