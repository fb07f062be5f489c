"""``vmtrace summary``: exits by reason, device and address; time by vCPU."""

import argparse
from pathlib import Path
from typing import Any

from tracer.analysis.summary import Summary, schemas, summarise
from tracer.read.reader import load
from tracer.show.output import add_formats, duration, show
from vmspec.host.printable import printable

SORTS = {"exits": "exits", "time": "handling_ns"}
# The tables for people; the others repeat them for programs, or are long.
SHOWN = {
    "reason": "Exits by reason",
    "device": "Exits by device",
    "address": "Exits by address",
    "unclaimed": "Claimed by no device",
    "vcpu": "Time by vCPU",
    "unseen": "What the trace does not see",
}


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("file", type=Path, help="the trace: an .arrow or .arrows file")
    parser.add_argument("--sort", choices=SORTS, default="exits", help="order of the exits (default: exits)")
    add_formats(parser)


def tables() -> dict[str, Any]:
    """The schemas of the tables, for ``vmtrace columns``."""
    return {"summary": schemas()}


def run(options: argparse.Namespace) -> int:
    """Print the summary."""
    summary = summarise(load(options.file), SORTS[options.sort])
    tables = summary.tables
    if options.table is None and not options.json:
        tables = {name: tables[name].replace_schema_metadata({"title": title}) for name, title in SHOWN.items()}
        tables |= {"counters": summary.tables["counters"]} if options.all else {}
    show(tables, options, _head(summary))
    return 0


def _head(summary: Summary) -> str:
    result = " ".join(f"{key} {printable(str(value))}" for key, value in summary.result.items() if value is not None)
    state = "complete" if summary.complete else "NOT COMPLETE"
    first = f"{summary.rows:,} exits in {duration(summary.duration_ns)}, {state}" + (
        f"; end: {result}" if result else ""
    )
    return "\n".join([first, "", *(f"- {printable(note)}" for note in summary.notes)])
