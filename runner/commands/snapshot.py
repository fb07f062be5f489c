"""Write the whole state of a running machine into a file, from which vmrun --restore FILE goes on. The machine stands
still meanwhile. Memory that is zero takes no room."""

import argparse
from pathlib import Path

from runner.control.client import Control
from runner.control.command import STATUSES, controlled, name_argument, seconds
from vmspec.host.printable import printable
from vmspec.schema.units import format_size

__all__ = ["STATUSES", "prepare", "run"]


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    name_argument(parser)
    parser.add_argument("file", metavar="FILE", type=Path, help="the snapshot; a file of that name is replaced")
    parser.add_argument(
        "--base",
        metavar="SNAPSHOT",
        type=Path,
        help="write only what differs from this earlier snapshot of the machine, which is then needed to go on",
    )
    parser.add_argument(
        "--stop", action="store_true", help="end the run once it is written, before the guest writes to its disks again"
    )
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=seconds, default=600.0, help="wait at most so long for it; default: 600"
    )


def run(options: argparse.Namespace) -> int:
    """Write it; return the exit status."""

    def snapshot(control: Control) -> None:
        size = control.snapshot(options.file, options.stop, options.timeout, options.base)
        print(f"{printable(options.file)}: {format_size(size)} of guest memory")

    return controlled(options.name, snapshot)
