"""The host's terminal: raw while the guest runs, with an escape, and restored whatever ends the run."""

import os
import select
import signal
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from runner.native import _native
from runner.signals import ENDING, FATAL, caught
from vmspec.host.threads import Worker

lib = _native.lib

ESCAPE = 0x01  # Ctrl-A
HELP = (
    b"\r\nvmrun: Ctrl-A x  end the run\r\n"
    b"       Ctrl-A h  this help\r\n"
    b"       Ctrl-A Ctrl-A  send Ctrl-A to the guest\r\n"
)


PATIENCE = 1.0  # seconds that a device may keep the input thread once the run has ended
LOOK = 250  # ms after which it is looked whether the terminal has become ours: a shell's `fg` tells nobody


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
    """Context manager: this session's terminal behind ``fd``, raw while this process is its foreground job. Restored at
    the end, and whenever a signal stops or ends the process; any other descriptor is left alone."""

    def __init__(self, fd: int) -> None:
        self.active = fd >= 0 and bool(lib.terminal_open(fd))
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        if self.active:
            ends = [(number, lib.SIGNAL_ENDS) for number in (*FATAL, *ENDING)]
            jobs = [(signal.SIGTSTP, lib.SIGNAL_STOPS), (signal.SIGCONT, lib.SIGNAL_GOES_ON)]
            self._stack.enter_context(caught([*ends, *jobs]))
            self._stack.callback(lib.terminal_close)
            self.take()
        return self

    def take(self) -> bool:
        """Whether the terminal may be read, as this job is in its foreground; it is raw then."""
        return bool(lib.terminal_take())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


class Input(Worker):
    """Reads host input and gives it to the guest as fast as it has room, until end of file or :meth:`stop`.

    ``terminal`` is what it reads, where that is a terminal, whose escapes are for ``command``.
    """

    def __init__(
        self, fd: int, terminal: Raw | None, room: Callable[[], int], receive: Callable[[bytes], None],
        command: Callable[[str], None],
    ) -> None:  # fmt: skip
        super().__init__("input")
        self._fd = fd
        self._terminal = terminal
        self._escapes = Escapes() if terminal is not None else None
        self._room, self._receive, self._command = room, receive, command
        self._wake = os.eventfd(0, os.EFD_CLOEXEC)
        self._stopping = False

    def work(self) -> None:
        """Read, filter, hand over."""
        # Another job may take the terminal between our looking and our reading, which fails then, rather than stops us.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTIN])
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
            ours = self._ours()
            poll = select.poll()
            poll.register(self._wake, select.POLLIN)
            if want and ours:
                poll.register(self._fd, select.POLLIN)
            ready = {fd for fd, _ in poll.poll(10 if waiting else None if ours else LOOK)}
            if self._fd in ready and self._ours():
                data = self._read()
                reading = data is not None
                waiting += data or b""

    def _ours(self) -> bool:
        """Whether the descriptor may be read now."""
        return self._terminal is None or self._terminal.take()

    def _read(self) -> bytes | None:
        """The next input without its escapes; None at the end of the file."""
        try:
            data = os.read(self._fd, 4096)
        except OSError:
            return None if self._ours() else b""
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
