"""``vmtrace timeline``: the boot divided by the console's lines, longest gaps first."""

import argparse
from pathlib import Path
from typing import Any

from tracer.analysis.timeline import LINUX, Timeline, schemas, slowest_first, timeline
from tracer.format.errors import TraceError
from tracer.read.reader import load
from tracer.show.output import add_formats, duration, show


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("file", type=Path, help="the trace: an .arrow or .arrows file")
    parser.add_argument("--device", help="the serial or debug port to use; default: the first")
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
    return {"timeline": schemas()}


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
    if not (options.json or options.csv or options.parquet):
        lines = _with_end(lines)
    show({"phases": found.phases, "lines": lines}, options, _head(found))
    return 0


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
    return f"{head}; gap: host time since the previous line; kernel: guest kernel's time"
