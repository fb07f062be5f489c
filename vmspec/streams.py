"""Standard streams that are closed, or whose readers have gone."""

import os
import sys
from contextlib import suppress
from typing import TextIO

BROKEN_PIPE = 141  # the exit status that a shell reports of a command that SIGPIPE ended


def replace_closed() -> None:
    """Let what is printed to a stream that was closed from the start go nowhere; Python has None in its place."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - open to the end
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115


def abandon(stream: TextIO) -> None:
    """Let go nowhere what a stream still holds: Python flushes it once more at its end, and would complain."""
    with suppress(OSError, ValueError):  # it may have no descriptor
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
