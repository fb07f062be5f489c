"""Attach to a console of a running machine: show what the guest prints, and type to it. Several can read, one can type.
Ctrl-A d detaches; the machine continues."""

import argparse
import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from runner.backends.terminal import Escapes, terminal_size
from runner.control.client import AttachedConsole, Control, connect
from runner.control.command import STATUSES, controlled, name_argument
from runner.control.errors import ControlError
from vmspec.host.commandline import complain

__all__ = ["STATUSES", "prepare", "run"]

PIECE = 4096  # bytes that are copied at once
HELP = (
    b"\r\nvmrun: Ctrl-A d  detach\r\n"
    b"       Ctrl-A b  send a break to the serial port\r\n"
    b"       Ctrl-A h  this help\r\n"
    b"       Ctrl-A Ctrl-A  send Ctrl-A to the guest\r\n"
)  # fmt: skip


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    name_argument(parser)
    parser.add_argument(
        "port", metavar="PORT", nargs="?", default="",
        help="a device that prints, such as serial0, or a port of it, as in virtio-console0.log; default: the first",
    )  # fmt: skip
    parser.add_argument("--read-only", action="store_true", help="only show what the guest prints")


def run(options: argparse.Namespace) -> int:
    """Show it until the user detaches or the run ends; return the exit status."""

    def attach(control: Control) -> None:
        console = control.console(options.port, not options.read_only)
        with console.socket:
            _say(f"{console.port} of {control.name}; Ctrl-A d detaches" if sys.stdin.isatty() else "")
            if console.reads_only and not options.read_only:
                _say(f"{console.port} is only shown: {console.reads_only}")
            typed = "" if console.reads_only else console.port
            with _raw(sys.stdin.fileno()) as terminal, _following_size(control.name, typed):
                detached = _copy(console, Escapes("dhb") if terminal else None, control.name)
            if not detached:
                _say(f"{control.name} has closed the console")

    return controlled(options.name, attach)


def _say(text: str) -> None:
    if text:
        complain("vmrun", text)


@contextmanager
def _raw(fd: int) -> Iterator[bool]:
    """Make a terminal raw, and restore it; False if the descriptor is none."""
    if not os.isatty(fd):
        yield False
        return
    before = termios.tcgetattr(fd)
    try:
        tty.setraw(fd, termios.TCSANOW)
        yield True
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


@contextmanager
def _following_size(name: str, port: str) -> Iterator[None]:
    """Tell the guest the terminal's size, now and whenever it changes; "": no port that is typed to. A console that has
    no size is not told."""

    def tell(*_: object) -> None:
        size = terminal_size(sys.stdin.fileno())
        if size and port:
            with suppress(ControlError), connect(name) as control:
                control.resize(*size, port)

    tell()
    before = signal.signal(signal.SIGWINCH, tell)
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)


def _copy(console: AttachedConsole, escapes: Escapes | None, name: str) -> bool:
    """Copy both ways; True once the user detaches, False once the machine closes the connection."""
    end, source = console.socket.fileno(), sys.stdin.fileno()
    poll = select.poll()
    poll.register(end, select.POLLIN)
    poll.register(source, select.POLLIN)
    _write(console.first)
    while True:
        ready = [fd for fd, _ in poll.poll()]
        if end in ready:
            try:
                data = os.read(end, PIECE)
            except ConnectionError:
                return False
            if not data:
                return False
            _write(data)
        if source in ready:
            data = os.read(source, PIECE)
            if not data:
                poll.unregister(source)  # the text of the guest goes on
                continue
            commands: list[str] = []
            if escapes is not None:
                data, commands = escapes.filter(data)
            if "d" in commands:
                return True
            if "h" in commands:
                _write(HELP)
            if not console.reads_only:
                if "b" in commands:
                    _break(name, console.port)
                try:
                    console.socket.sendall(data)
                except ConnectionError:
                    return False


def _break(name: str, port: str) -> None:
    """Send a break, by a connection of its own: the console's carries only text."""
    try:
        with connect(name) as control:
            control.line_break(port)
    except ControlError as error:
        _say(str(error))


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(sys.stdout.fileno(), data) :]
