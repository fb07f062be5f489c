"""Show a running machine's exits: how many there were, and how many there are per second, by reason and by the device
that answered them; and the requests that each virtqueue has answered."""

import argparse
import json
import sys
import time

from runner.control.client import Control
from runner.control.command import STATUSES, controlled, name_argument, seconds
from runner.control.rates import table
from vmspec.host.printable import printable

CLEAR = "\x1b[H\x1b[2J"  # the screen, from its first line on

__all__ = ["STATUSES", "prepare", "run"]


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    name_argument(parser)
    parser.add_argument("--watch", action="store_true", help="go on until Ctrl-C or the end of the run")
    parser.add_argument(
        "--interval", metavar="SECONDS", type=seconds, default=1.0, help="the time between two readings; default: 1"
    )
    parser.add_argument("--json", action="store_true", help="print the counters once, as JSON")


def run(options: argparse.Namespace) -> int:
    """Print them; return the exit status."""

    def show(control: Control) -> None:
        before = control.counters()
        if options.json:
            print(json.dumps(before, indent=2))
            return
        while True:
            time.sleep(options.interval)
            after = control.counters()
            screen = CLEAR if options.watch and sys.stdout.isatty() else ""
            print(screen + "\n".join(map(printable, table(before, after))), flush=True)
            if not options.watch:
                return
            before = after

    return controlled(options.name, show)
