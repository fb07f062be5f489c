"""``vmtrace io``: the requests to virtio devices: how many, how long, how many at once; the slowest; and frames."""

import argparse
from pathlib import Path
from typing import Any

from tracer.analysis.requests import schemas, summarised
from tracer.read.reader import Trace, load
from tracer.show.output import add_formats, duration, show
from vmspec.host.printable import printable
from vmspec.trace.requests import REQUESTS

BARS = " \N{LOWER ONE EIGHTH BLOCK}\N{LOWER ONE QUARTER BLOCK}\N{LOWER THREE EIGHTHS BLOCK}\N{LOWER HALF BLOCK}"
BARS += "\N{LOWER FIVE EIGHTHS BLOCK}\N{LOWER THREE QUARTERS BLOCK}\N{LOWER SEVEN EIGHTHS BLOCK}\N{FULL BLOCK}"


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("file", type=Path, help="the trace; its requests are the .requests.arrow beside it")
    add_formats(parser)


def tables() -> dict[str, Any]:
    """The schemas of the tables, for ``vmtrace columns``."""
    return {"io": schemas()}


def run(options: argparse.Namespace) -> int:
    """Print the tables. For people, the depths are bars in the head, unless they ask for their table, and there are
    frames only if there is a network device."""
    trace = load(options.file)
    tables = summarised(trace)
    head = _head(trace, sum(tables["kinds"]["requests"].to_pylist()), tables["depth"])
    if options.table is None and not (options.json or options.csv or options.parquet):
        if not options.all:
            del tables["depth"]
        if not tables["frames"].num_rows:
            del tables["frames"]
    show(tables, options, head)
    return 0


def _head(trace: Trace, count: int, depths: Any) -> str:
    requests = trace.tables[REQUESTS.name]
    lines = [f"{count:,} {'request' if count == 1 else 'requests'}"]
    if not requests.complete:
        lines.append("- requests may be missing at the end: the run continues, was killed, or was recovered")
    if dropped := (requests.summary or {}).get("dropped", 0):
        lines.append(f"- {dropped:,} requests are missing: their ring was full (trace.ring, trace.full)")
    devices: dict[str, list[dict[str, Any]]] = {}
    for row in depths.to_pylist():
        devices.setdefault(row["device"], []).append(row)
    if devices:
        width = max(map(len, map(printable, devices)))
        lines += ["", "Requests in flight from the start of the run to its end"]
    for device, rows in devices.items():
        most = max(row["max_depth"] for row in rows)
        each, mean = duration(rows[0]["time_ns"]), max(row["depth"] for row in rows)
        lines.append(f"{printable(device).ljust(width)}  |{_bars(rows)}|")
        lines.append(f"{'':{width}}  at most {most:,}; a bar is the mean of {each}, the highest {mean:.2g}")
    return "\n".join([*lines, ""])


def _bars(rows: list[dict[str, Any]]) -> str:
    """A bar for the mean depth of each part; the least that is not 0 can be seen."""
    greatest = max(row["depth"] for row in rows) or 1
    return "".join(BARS[-int(-row["depth"] / greatest * (len(BARS) - 1) // 1)] for row in rows)
