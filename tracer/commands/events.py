"""``vmtrace events``: the exits, a line each."""

import argparse
import json
import sys
import time
from pathlib import Path

from tracer.analysis import where
from tracer.errors import TraceError
from tracer.events import READABLE, Lines, exits
from tracer.follow import Follower, follow
from tracer.merge import machines
from tracer.reader import Trace, load
from tracer.schema import flag_names
from vmspec.record import COLUMNS


def prepare(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("file", type=Path)
    parser.add_argument(
        "--where", metavar="EXPR", help="only exits for which this holds, such as: device == 'serial0' and size > 1"
    )
    others = ", ".join(column.name for column in COLUMNS if column.name not in READABLE)
    parser.add_argument(
        "--columns", metavar="NAMES", help=f"columns, with commas between: {', '.join(READABLE)}; {others}"
    )
    parser.add_argument("--limit", metavar="N", type=_count, help="stop after so many")
    parser.add_argument("-f", "--follow", action="store_true", help="go on while the run is recorded, to its end")
    parser.add_argument("--json", action="store_true", help="a JSON object for each exit, a line each; times in ns")


def run(options: argparse.Namespace) -> int:
    """Print the exits as they come; nothing is held."""
    if options.json and options.columns:
        raise TraceError("--columns are of lines: --json always has all")
    lines = Lines(tuple(options.columns.replace(",", " ").split()) if options.columns else tuple(READABLE))
    if not options.follow:
        _print(load(options.file), lines, options)
        return 0
    with follow(options.file) as follower:
        follower.started()
        _print(follower, lines, options)
        if follower.ended and follower.summary is None:
            raise TraceError(f"{follower.path} ends without a summary: the run was killed (vmtrace recover)")
    return 0


def _print(trace: Trace | Follower, lines: Lines, options: argparse.Namespace) -> None:
    chosen = where.compile(options.where, trace) if options.where is not None else None
    batches = trace.batches(wait=_flushed) if isinstance(trace, Follower) else trace.batches()
    if not options.json:
        print(lines.head())
    left = options.limit
    if left == 0:
        return
    for row in exits(batches, chosen, machines(trace.metadata)):
        if options.json:
            row["flags"] = flag_names(row["flags"])
            row["payload"] = row["payload"].hex()
            print(json.dumps(row))
        else:
            print(lines.line(row))
        if left is not None and (left := left - 1) == 0:
            break


def _flushed(seconds: float) -> None:
    """Wait, with everything printed that has come."""
    sys.stdout.flush()
    time.sleep(seconds)


def _count(text: str) -> int:
    try:
        if (value := int(text)) >= 0:
            return value
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of exits")
