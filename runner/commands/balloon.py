"""Show a machine's balloon; with SIZE, ask its guest first to return so much memory in all. The spec needs the device
virtio-balloon."""

import argparse
import json

from runner.control.client import Control
from runner.control.command import STATUSES, controlled, name_argument
from runner.control.inspection.tree import text
from vmspec.host.printable import printable
from vmspec.schema.units import format_size, parse_size

__all__ = ["STATUSES", "prepare", "run"]


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    name_argument(parser)
    parser.add_argument("size", metavar="SIZE", nargs="?", type=_size, help="memory to return, as in 512MiB; 0B: none")
    parser.add_argument("--json", action="store_true", help="print JSON; sizes are bytes")


def run(options: argparse.Namespace) -> int:
    """Change and show it; return the exit status."""

    def show(control: Control) -> None:
        found = control.balloon(options.size)
        if options.json:
            print(json.dumps(found._asdict() | {"statistics": dict(found.statistics)}, indent=2))
            return
        sizes = (("target", found.target), ("actual", found.actual))
        shown = {name: format_size(size) for name, size in sizes}
        print("\n".join(map(printable, text(shown | {"statistics": found.statistics}))))

    return controlled(options.name, show)


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from error
