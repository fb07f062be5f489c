"""The host's terminal: raw while the guest runs, with an escape, and restored whatever ends the run."""

import os
import select
import termios
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from vmspec.threads import Worker

ESCAPE = 0x01  # Ctrl-A
HELP = (
    b"\r\nvmrun: Ctrl-A x  end the run\r\n"
    b"       Ctrl-A h  this help\r\n"
    b"       Ctrl-A Ctrl-A  send Ctrl-A to the guest\r\n"
)


PATIENCE = 1.0  # seconds that a device may keep the input thread once the run has ended


class Escapes:
    """Takes the escape sequences out of typed input."""

    def __init__(self) -> None:
        self._pending = False

    def filter(self, data: bytes) -> tuple[bytes, list[str]]:
        """Returns what goes to the guest and the commands found ("x", "h") in order."""
        rest = bytearray()
        commands = []
        for byte in data:
            match self._pending, byte:
                case False, 0x01:
                    self._pending = True
                    continue
                case False, _:
                    rest.append(byte)
                case True, 0x01:
                    rest.append(byte)
                case True, (0x78 | 0x58):
                    commands.append("x")
                case True, (0x68 | 0x48 | 0x3F):
                    commands.append("h")
                case True, _:
                    pass  # an unknown command is dropped, as in other terminal programs
            self._pending = False
        return bytes(rest), commands


class Raw:
    """Context manager: the terminal behind ``fd`` in raw mode. No terminal, or one that another job owns, is left
    alone."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.active = os.isatty(fd) and _is_ours(fd)
        self._saved: list[Any] = []

    def __enter__(self) -> Self:
        if self.active:
            self._saved = termios.tcgetattr(self.fd)
            try:
                # At once: a terminal that nobody reads would be waited for for ever.
                termios.tcsetattr(self.fd, termios.TCSANOW, _raw(termios.tcgetattr(self.fd)))
            except BaseException:
                self._restore()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.active:
            self._restore()

    def _restore(self) -> None:
        with suppress(termios.error):  # the terminal may have gone, and its mode with it
            termios.tcsetattr(self.fd, termios.TCSANOW, self._saved)


def _raw(mode: list[Any]) -> list[Any]:
    """A terminal's mode made raw, as cfmakeraw(3) does; but output is processed still, as messages of vmrun itself end
    in a plain newline."""
    iflag, oflag, cflag, lflag, ispeed, ospeed, cc = mode
    iflag &= ~(termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP | termios.INLCR | termios.IGNCR)
    iflag &= ~(termios.ICRNL | termios.IXON)
    oflag |= termios.OPOST | termios.ONLCR
    cflag = cflag & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    lflag &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    cc[termios.VMIN], cc[termios.VTIME] = 1, 0
    return [iflag, oflag, cflag, lflag, ispeed, ospeed, cc]


def _is_ours(fd: int) -> bool:
    """Whether this process belongs to the terminal's foreground job."""
    try:
        return os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:
        return False  # it is not our session's terminal


class Input(Worker):
    """Reads host input and gives it to the guest as fast as it has room, until end of file or :meth:`stop`."""

    def __init__(
        self, fd: int, escapes: Escapes | None, room: Callable[[], int], receive: Callable[[bytes], None],
        command: Callable[[str], None],
    ) -> None:  # fmt: skip
        super().__init__("input")
        self._fd = fd
        self._escapes = escapes
        self._room, self._receive, self._command = room, receive, command
        self._wake = os.eventfd(0, os.EFD_CLOEXEC)
        self._stopping = False

    def work(self) -> None:
        """Read, filter, hand over."""
        waiting = b""
        reading = True
        while not self._stopping:
            if waiting:
                room = self._room()
                piece, waiting = waiting[:room], waiting[room:]
                if piece:
                    self._receive(piece)
            # A terminal is always read, so that its escape works while the guest takes nothing; a pipe or file waits.
            want = reading and (not waiting or (self._escapes is not None and len(waiting) < 1 << 20))
            poll = select.poll()
            poll.register(self._wake, select.POLLIN)
            if want:
                poll.register(self._fd, select.POLLIN)
            ready = {fd for fd, _ in poll.poll(10 if waiting else None)}
            if self._fd in ready:
                data = self._read()
                reading = data is not None
                waiting += data or b""

    def _read(self) -> bytes | None:
        """The next input without its escapes; None at the end of the file."""
        try:
            data = os.read(self._fd, 4096)
        except OSError:
            return None
        if self._escapes is None or not data:
            return data or None
        rest, commands = self._escapes.filter(data)
        for command in commands:
            self._command(command)
        return rest

    def stop(self) -> None:
        """End the thread and wait for it; a second time there is nothing to do."""
        self._stopping = True
        if self._wake < 0:
            return
        os.eventfd_write(self._wake, 1)
        if self.wait(PATIENCE):
            os.close(self._wake)
            self._wake = -1
