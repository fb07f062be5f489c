"""Feed the accesses of a recording to today's device models, without KVM, and print every answer, interrupt, DMA, time
of waking and end that differs. A recording is the trace of a run with virtual time."""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

from runner.kvm.errors import HostError
from runner.machine.result import HOST, INTERRUPTED, OK, UNMET, WRONG
from runner.replay.disks import Disks
from runner.replay.modelled import Modelled
from runner.replay.offline import Row, compared
from runner.replay.recording import Recording
from runner.session.failures import RAISED
from vmspec.host.commandline import complain, count
from vmspec.host.printable import printable
from vmspec.schema.problems import SpecError

SHOWN = 20

STATUSES = """exit status:
    0  the models do as recorded
    1  a model differs
    2  the command line is wrong, or the file is no recording
    3  this host has too little memory
  130  interrupted
  141  the reader of the output closed it

vmrun --replay replays a recording on KVM."""


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("file", type=Path, metavar="FILE", help="the trace")
    parser.add_argument(
        "--images", type=Path, action="append", default=[], metavar="DIR", help="look for images of disks here, too"
    )
    parser.add_argument("--limit", type=count, default=SHOWN, metavar="N", help=f"print at most N ({SHOWN})")
    parser.add_argument("--json", action="store_true", help="print a JSON object for each difference")


def run(options: argparse.Namespace) -> int:
    """Compare, print, return the exit status."""
    try:
        recording = Recording.of(options.file)
        with closing(Disks(options.file, options.images)) as disks, closing(Modelled(recording, disks.open)) as machine:
            for name, why in machine.unmodelled.items():
                complain("vmrun", f"{name} {why}; it is not compared")
            found = compared(recording, machine)
            shown = list(islice(found, options.limit))
            more = sum(1 for _ in found)
    except RAISED as error:
        complain("vmrun", *(error.problems if isinstance(error, SpecError) else (error,)))
        return HOST if isinstance(error, HostError) else WRONG
    except KeyboardInterrupt:
        complain("vmrun", "interrupted")
        return INTERRUPTED
    for line in _lines(options, len(recording.exits), shown, more):
        print(printable(line))
    sys.stdout.flush()
    return UNMET if shown else OK


def _lines(options: argparse.Namespace, exits: int, shown: list[Row], more: int) -> Iterator[str]:
    if options.json:
        yield from map(json.dumps, shown)
        return
    for row in shown:
        yield f"exit {row['exit']:,}: {row['what']}: recorded {row['recorded']}, now {row['modelled']}"
    total = len(shown) + more
    yield f"{exits:,} exits: " + (f"{total:,} differences" if total else "the device models do as recorded")
