"""Write guest memory and the registers of all vCPUs into an ELF core file, which gdb opens. The machine stands still
meanwhile, and goes on afterwards. Memory that the guest has not used takes no room on disk."""

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
    parser.add_argument("file", metavar="FILE", type=Path, help="the core file; a file of that name is replaced")
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=seconds, default=600.0, help="wait at most so long for it; default: 600"
    )


def run(options: argparse.Namespace) -> int:
    """Write it; return the exit status."""

    def dump(control: Control) -> None:
        size = control.dump(options.file, options.timeout)
        print(f"{printable(options.file)}: {format_size(size)} of guest memory")

    return controlled(options.name, dump)
