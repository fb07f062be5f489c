"""Debug a running machine with gdb. The guest stops; it continues when gdb detaches or ends. Without --pipe this starts
gdb, with the arguments after --, such as a file that has the guest's symbols."""

import argparse
import os
import select
import shlex
import socket
import sys

from runner.control.client import Control
from runner.control.command import FAILED, STATUSES, controlled, name_argument
from vmspec.host.commandline import complain

__all__ = ["STATUSES", "prepare", "run"]

PIECE = 4096  # bytes that are copied at once
GDB = "gdb"


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    name_argument(parser)
    parser.add_argument(
        "arguments", metavar="ARGUMENT", nargs="*", help="an argument for gdb; those that begin with - follow a --"
    )
    parser.add_argument(
        "--pipe", action="store_true",
        help="carry gdb's protocol on standard input and output, as in gdb's target remote | vmrun gdb --pipe NAME",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Debug it; return the exit status."""
    if not options.pipe:
        return _start(options.name, options.arguments)

    def carry(control: Control) -> None:
        with control.gdb() as end:
            _copy(end)

    return controlled(options.name, carry)


def _start(name: str, arguments: list[str]) -> int:
    """Become gdb. Returns an exit status if that fails."""
    here = shlex.join([sys.executable, "-m", "runner.cli", "gdb", "--pipe", "--", name])
    # gdb sends its first packet again after 2 s, and the machine may need a moment to stand still.
    words = [GDB, *arguments, "-ex", "set remotetimeout 10", "-ex", f"target remote | {here}"]
    try:
        os.execvp(GDB, words)
    except OSError as error:
        complain("vmrun", f"{GDB} cannot be started: {error.strerror}; install it, or connect with --pipe")
        return FAILED


def _copy(end: socket.socket) -> None:
    """Copy both ways until one side ends."""
    poll = select.poll()
    ways = {sys.stdin.fileno(): end.fileno(), end.fileno(): sys.stdout.fileno()}
    for fd in ways:
        poll.register(fd, select.POLLIN)
    while True:
        for fd, _ in poll.poll():
            try:
                data = os.read(fd, PIECE)
                if not data:
                    return
                while data:
                    data = data[os.write(ways[fd], data) :]
            except ConnectionError:  # the side that is to have it has gone
                return
