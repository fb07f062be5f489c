"""Show what is in a running machine as a tree, or the part at a path such as devices/serial0/state or vcpus/0. The
machine stands still for a moment if the part has registers of vCPUs or states of devices."""

import argparse
import json

from runner.control.client import Control
from runner.control.command import STATUSES, controlled, name_argument
from runner.control.inspection.tree import text
from vmspec.host.printable import printable

__all__ = ["STATUSES", "prepare", "run"]


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    name_argument(parser)
    parser.add_argument("path", metavar="PATH", nargs="?", default="", help="names, separated by /; default: all of it")
    parser.add_argument("--json", action="store_true", help="print JSON; registers and addresses are texts")


def run(options: argparse.Namespace) -> int:
    """Print it; return the exit status."""

    def show(control: Control) -> None:
        found = control.inspect(options.path)
        if options.json:
            print(json.dumps(found, indent=2))
        else:
            print("\n".join(map(printable, text(found))))

    return controlled(options.name, show)
