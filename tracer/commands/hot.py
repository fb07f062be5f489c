"""``vmtrace hot``: the guest's instructions and functions with the most exits."""

import argparse
from pathlib import Path
from typing import Any

from tracer.analysis.hot import BY, collapsed, hot, schemas
from tracer.format.errors import TraceError
from tracer.read.reader import load
from tracer.show.output import add_formats, show
from vmspec.host.printable import printable

SORTS = {"exits": "exits", "time": "handling_ns"}


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("file", type=Path, help="the trace: an .arrow or .arrows file")
    parser.add_argument(
        "--symbols",
        metavar="FILE",
        type=Path,
        help="System.map, vmlinux or bzImage; default: the files that the trace's spec names",
    )
    parser.add_argument("--kaslr", metavar="OFFSET", help="KASLR offset of the kernel; default: detected")
    parser.add_argument("--by", metavar="KEY,...", help=f"also group by any of {', '.join(BY)}; default: device")
    parser.add_argument("--sort", choices=SORTS, default="exits", help="order of the rows, and weight of --collapsed")
    parser.add_argument("--collapsed", action="store_true", help="folded stacks for flame graphs: device;reason;symbol")
    add_formats(parser)


def tables() -> dict[str, Any]:
    """The schemas of the tables, for ``vmtrace columns``."""
    return {"hot": schemas()}


def run(options: argparse.Namespace) -> int:
    """Print the ranking."""
    if options.collapsed and (options.json or options.csv or options.parquet or options.table):
        raise TraceError("--collapsed is a format of its own: leave out --json, --csv, --parquet and --table")
    default = ("device", "reason") if options.collapsed else ("device",)
    by = _keys(options.by) if options.by is not None else default
    sort = SORTS[options.sort]
    offset = _number(options.kaslr) if options.kaslr is not None else None
    found = hot(load(options.file), by, symbols=options.symbols, offset=offset, sort=sort)
    if options.collapsed:
        for line in collapsed(found.tally, by, sort):
            print(printable(line))
        return 0
    show({"symbols": found.symbols, "rips": found.rips}, options, f"Symbols: {printable(found.source)}")
    return 0


def _keys(text: str) -> tuple[str, ...]:
    keys = tuple(dict.fromkeys(key.strip() for key in text.split(",") if key.strip()))
    for key in keys:
        if key not in BY:
            raise TraceError(f"--by {key!r} is not one of {', '.join(BY)}")
    return keys


def _number(text: str) -> int:
    try:
        number = int(text, 0)
    except ValueError:
        number = -1
    if not 0 <= number < 1 << 64:
        raise TraceError(f"--kaslr {text!r} is not a number such as 0x1c000000")
    return number
