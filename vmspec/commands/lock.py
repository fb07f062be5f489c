"""``vmspec lock``: write the lock of a spec, or compare the run with it."""

import argparse
from pathlib import Path

from vmspec.commands.arguments import document, spec
from vmspec.lock import command


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    spec(parser, "; its lock is SPEC.lock")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--update", action="store_true", help="replace the lock, even if it differs")
    what.add_argument(
        "--check",
        action="store_true",
        help="print a line for each difference; exit status 1 if vmrun --locked would reject the run",
    )
    what.add_argument(
        "--diff",
        action="store_true",
        help="print the old and the new value of each difference; exit status 1 if there is one",
    )


def run(options: argparse.Namespace) -> int:
    """Write or compare; return the exit status."""
    mode: command.Mode = "write"
    for name in ("update", "check", "diff"):
        mode = name if getattr(options, name) else mode
    return command.run(document(options).plan(), Path(options.spec), mode)
