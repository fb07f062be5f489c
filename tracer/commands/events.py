"""``vmtrace events``: the exits, one line each."""

import argparse
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tracer.analysis import where
from tracer.analysis.merge import machines
from tracer.decode.regions import Regions
from tracer.format.errors import TraceError
from tracer.format.rowfile import BACKWARDS
from tracer.format.vocabulary import EXIT, plain_schema
from tracer.read.follow import Follower, follow
from tracer.read.reader import Trace, load
from tracer.show.events import READABLE, Lines, described, json_lines, why_none
from vmspec.host.streams import columns
from vmspec.trace.files import TRACE

EPILOG = (
    f"--where compares columns ({', '.join(where.NAMES)}) with numbers (0x3f8), texts in quotes and times with a unit "
    "(100ns, 5us, 1.5ms, 2s), by == != < <= > >= in, not in, and, or, not. Names in capitals are flags, true or false: "
    "UNCLAIMED is true if no device claims the access, PYTHON if a device answered in Python. "
    "`vmtrace columns events` explains the columns."
)


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = EPILOG
    parser.add_argument("file", type=Path, help="the trace: an .arrow or .arrows file")
    parser.add_argument(
        "--where", metavar="EXPR", help="print only exits that match, as in: device == 'serial0' and size > 1"
    )
    others = ", ".join(column.name for column in EXIT if column.name not in READABLE)
    parser.add_argument(
        "--columns", metavar="NAMES", help=f"comma-separated columns. Default: {', '.join(READABLE)}; also: {others}"
    )
    some = parser.add_mutually_exclusive_group()
    some.add_argument("--limit", metavar="N", type=_count, help="stop after N exits")
    some.add_argument("--last", metavar="N", type=_count, help="print only the last N exits")
    parser.add_argument("-f", "--follow", action="store_true", help="follow the run until it ends")
    parser.add_argument(
        "--json",
        action="store_true",
        help='one JSON object per exit and line, with all columns; times in ns, addresses as "0x..."',
    )


def tables() -> dict[str, Any]:
    """The schemas of the tables, for ``vmtrace columns``."""
    return {"events": {TRACE: plain_schema(EXIT)}}


def run(options: argparse.Namespace) -> int:
    """Print the exits as they come; none is kept."""
    if options.json and options.columns:
        raise TraceError("--columns is for lines; --json always has all columns")
    lines = Lines(tuple((options.columns or "").replace(",", " ").split()), columns())
    if options.follow and options.last is not None:
        raise TraceError("--last needs a trace that has ended, and -f waits for its end")
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
    text = json_lines if options.json else lines.text
    if not options.json:
        print(lines.head())
    if options.limit == 0:
        return
    shown = described(_batches(trace, options, chosen), chosen, machines(trace.metadata), Regions(trace.metadata))
    found = 0
    for batch in _first(shown, options.limit) if options.last is None else _last(shown, options.last):
        found += batch.num_rows
        sys.stdout.write(text(batch))
    if chosen is not None and not found and isinstance(trace, Trace):
        sys.stdout.flush()
        print(f"vmtrace: {why_none(trace, chosen, machines(trace.metadata))}", file=sys.stderr)


def _first(batches: Iterable[Any], limit: int | None) -> Iterator[Any]:
    """The first ``limit`` rows; does not wait for a batch after them."""
    left = limit
    for batch in batches:
        yield batch.slice(0, left)
        if left is not None:
            left -= min(batch.num_rows, left)
            if left == 0:
                return


def _last(batches: Iterable[Any], count: int) -> Iterator[Any]:
    """The last ``count`` rows."""
    held: deque[Any] = deque()
    rows = 0
    for batch in batches:
        held.append(batch)
        rows += batch.num_rows
        while held and rows - held[0].num_rows >= count:
            rows -= held.popleft().num_rows
    for batch in held:
        yield batch.slice(max(rows - count, 0) if batch is held[0] else 0)


def _batches(trace: Trace | Follower, options: argparse.Namespace, chosen: where.Filter | None) -> Iterable[Any]:
    """The batches with the requested rows; for a file's last exits, those and an earlier one that sets the registers'
    states."""
    if isinstance(trace, Follower):
        return trace.batches(wait=_flushed)
    last: int | None = options.last
    if last is None or chosen is not None or trace.kind != "file":
        return trace.batches()
    found: list[Any] = []
    rows = 0
    for batch in trace.batches(which=BACKWARDS):
        found.append(batch)
        if rows >= last:
            break
        rows += batch.num_rows
    return found[::-1]


def _flushed(seconds: float) -> None:
    """Flush the output, then wait."""
    sys.stdout.flush()
    time.sleep(seconds)


def _count(text: str) -> int:
    try:
        if (value := int(text)) >= 0:
            return value
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of exits")
