"""The host's terminal: raw while the guest runs, with an escape, and restored however the run ends."""

import os
import signal
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from runner.native import _native
from runner.signals import ENDING, FATAL, caught

lib = _native.lib

HELP = (
    b"\r\nvmrun: Ctrl-A x  end the run\r\n"
    b"       Ctrl-A p  press the power button\r\n"
    b"       Ctrl-A b  send a break to the serial port\r\n"
    b"       Ctrl-A h  this help\r\n"
    b"       Ctrl-A Ctrl-A  send Ctrl-A to the guest\r\n"
)
# What a letter means, small or capital.
COMMAND = {code: chr(code).lower() for code in (*range(0x41, 0x5B), *range(0x61, 0x7B))} | {0x3F: "h"}
PTMX = os.makedev(5, 2)  # Documentation/admin-guide/devices.txt


class Escapes:
    """Takes the escape sequences out of typed input: Ctrl-A and one of the ``commands``, which are letters, or "?" for
    "h"."""

    def __init__(self, commands: str = "xpbh") -> None:
        self._commands = commands
        self._pending = False

    def filter(self, data: bytes) -> tuple[bytes, list[str]]:
        """Return what goes to the guest, and the commands found in order."""
        rest = bytearray()
        commands = []
        for byte in data:
            match self._pending, byte:
                case False, 0x01:  # Ctrl-A
                    self._pending = True
                    continue
                case False, _:
                    rest.append(byte)
                case True, 0x01:
                    rest.append(byte)
                case True, _ if (command := COMMAND.get(byte, "")) and command in self._commands:
                    commands.append(command)
                case True, _:
                    pass  # an unknown command is dropped, as in other terminal programs
            self._pending = False
        return bytes(rest), commands


class Raw:
    """Context manager: this session's terminal behind ``fd`` is raw while this process is its foreground job. It is
    restored at the end, and when a signal stops or ends the process. Any other descriptor is left alone."""

    def __init__(self, fd: int) -> None:
        self.active = fd >= 0 and bool(lib.terminal_open(fd))
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        if self.active:
            ends = [(number, lib.SIGNAL_ENDS) for number in (*FATAL, *ENDING)]
            jobs = [(signal.SIGTSTP, lib.SIGNAL_STOPS), (signal.SIGCONT, lib.SIGNAL_GOES_ON)]
            jobs.append((signal.SIGWINCH, lib.SIGNAL_TELLS))
            self._stack.enter_context(caught([*ends, *jobs]))
            self._stack.callback(lib.terminal_close)
            self.take()
        return self

    def take(self) -> bool:
        """Whether the terminal may be read because this job is in its foreground; it is then made raw."""
        return bool(lib.terminal_take())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


def anew(fd: int, flags: int) -> int | None:
    """Open the same terminal or pipe again without blocking; None if that is impossible. The master of a
    pseudo-terminal cannot be opened again: that would open a new pair."""
    if os.fstat(fd).st_rdev == PTMX:
        return None
    try:
        return os.open(f"/proc/self/fd/{fd}", flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return None


def terminal_size(fd: int | None) -> tuple[int, int] | None:
    """Columns and rows of the terminal behind a descriptor; None: it is no terminal, or has no size."""
    try:
        columns, rows = os.get_terminal_size(-1 if fd is None else fd)
    except OSError:
        return None
    return (columns, rows) if columns and rows else None
