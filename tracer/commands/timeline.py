"""``vmtrace timeline``: the boot divided by the console's lines, longest gaps first."""

import argparse
from pathlib import Path
from typing import Any

from tracer.analysis.requests import by_phases, phases_schema
from tracer.analysis.timeline import LINUX, Timeline, schemas, slowest_first, timeline
from tracer.format.errors import TraceError
from tracer.format.words import times
from tracer.read.reader import load
from tracer.show.output import add_formats, duration, show


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("file", type=Path, help="the trace: an .arrow or .arrows file")
    parser.add_argument(
        "--device", help="the serial port, debug port or port of a virtio console to use; default: the first"
    )
    parser.add_argument("--in-order", action="store_true", help="sort lines by time; default: longest gaps first")
    parser.add_argument(
        "--phase",
        metavar="NAME=REGEX",
        action="append",
        help="the phase NAME begins with the first line that matches REGEX; may be repeated; default: the phases of a "
        "Linux boot",
    )
    add_formats(parser)


def tables() -> dict[str, Any]:
    """The schemas of the tables, for ``vmtrace columns``."""
    return {"timeline": {**schemas(), "requests": phases_schema()}}


def run(options: argparse.Namespace) -> int:
    """Print the phases and the lines."""
    phases: dict[str, str] = {}
    for name, pattern in map(_phase, options.phase or ()):
        if name in phases:
            raise TraceError(
                f"--phase {name!r} is given twice; for either of two expressions: {phases[name]}|{pattern}"
            )
        phases[name] = pattern
    trace = load(options.file)
    found = timeline(trace, options.device, phases or LINUX)
    lines = found.lines if options.in_order else slowest_first(found.lines)
    tables = {"phases": found.phases, "lines": lines, "pauses": found.pauses}
    tables["requests"] = by_phases(trace, found.phases, found.device)
    if not (options.json or options.csv or options.parquet):
        tables = _for_people(tables, options.in_order)
    show(tables, options, _head(found))
    return 0


def _for_people(tables: dict[str, Any], in_order: bool) -> dict[str, Any]:
    """The tables with texts for the end of the run and, in the order of time, for pauses; without a word of pauses, or
    of requests, if there were none."""
    pauses, requests = tables["pauses"], tables.pop("requests")
    tables["lines"] = _with_end(tables["lines"])
    if not pauses.num_rows:
        del tables["pauses"]
        tables = {name: table.drop_columns("paused_ns") for name, table in tables.items()}
    if requests.num_rows:
        tables = {"phases": tables.pop("phases"), "requests": requests, **tables}
    if not pauses.num_rows:
        return tables
    if in_order:
        tables["lines"] = _with_pauses(tables["lines"], pauses)
    return tables


def _with_pauses(lines: Any, pauses: Any) -> Any:
    """The lines, with one for each pause."""
    import pyarrow as pa

    texts = [f"(paused for {duration(ns)})" for ns in pauses["time_ns"].to_pylist()]
    columns = {"t_ns": pauses["t_ns"], "line": pa.array(texts, pa.utf8())}
    nothing = {field.name: pa.nulls(pauses.num_rows, field.type) for field in lines.schema}
    rows = pa.table(nothing | columns, schema=lines.schema)
    return pa.concat_tables([lines, rows]).sort_by("t_ns")


def _with_end(lines: Any) -> Any:
    """The lines with a text for the end of the run, for people."""
    import pyarrow.compute as pc

    at = lines.schema.get_field_index("line")
    return lines.set_column(at, lines.schema.field(at), pc.fill_null(lines["line"], "(the end of the run)"))


def _phase(text: str) -> tuple[str, str]:
    name, sign, pattern = text.partition("=")
    if not sign or not name or not pattern:
        raise TraceError(f"--phase {text!r} is not NAME=REGEX")
    return name, pattern


def _head(found: Timeline) -> str:
    if found.device is None:
        return "This machine has no console, so its trace has no lines."
    end, silent = (found.lines[name][-1].as_py() for name in ("t_ns", "gap_ns"))
    head = f"{found.count:,} {'line' if found.count == 1 else 'lines'} of {found.device} in {duration(end)}"
    if found.count and silent == slowest_first(found.lines)["gap_ns"][0].as_py():
        head += f", nothing printed for the last {duration(silent)}"
    head += "; gap: host time since the previous line; kernel: guest kernel's time"
    if found.pauses.num_rows:
        length = sum(found.pauses["time_ns"].to_pylist())
        head += f"\npaused {times(found.pauses.num_rows)}, {duration(length)} in all, which is in no other time"
    return head
