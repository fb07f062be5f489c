"""``vmspec plan``: memory map, devices and KVM calls."""

import argparse

from vmspec.commands.arguments import document, spec
from vmspec.host.streams import columns


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    spec(parser)
    parser.add_argument("--json", action="store_true", help="print the plan as JSON")


def run(options: argparse.Namespace) -> int:
    """Print the plan."""
    plan = document(options).plan()
    if options.json:
        from vmspec.plan import serial

        print(serial.dumps(plan))
    else:
        from vmspec.show import render

        print(render.text(plan, columns()), end="")
    return 0
