"""``vmtrace timeline``: the boot cut up by the console's own lines, the longest gaps first."""

import argparse
from pathlib import Path

from tracer.analysis.timeline import LINUX, Timeline, slowest_first, timeline
from tracer.errors import TraceError
from tracer.output import add_formats, duration, show
from tracer.reader import load


def prepare(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("file", type=Path)
    parser.add_argument("--device", help="the serial or debug port whose lines to take; default: the first")
    parser.add_argument(
        "--in-order", action="store_true", help="lines in the order of time, not the longest gaps first"
    )
    parser.add_argument(
        "--phase",
        metavar="NAME=REGEX",
        action="append",
        help="a phase begins with the first line that matches; repeatable; replaces the phases of a Linux boot",
    )
    add_formats(parser)


def run(options: argparse.Namespace) -> int:
    """Print the phases and the lines."""
    phases: dict[str, str] = {}
    for name, pattern in map(_phase, options.phase or ()):
        if name in phases:
            raise TraceError(f"--phase {name!r} is given twice; of two expressions either: {phases[name]}|{pattern}")
        phases[name] = pattern
    trace = load(options.file)
    found = timeline(trace, options.device, phases or LINUX)
    lines = found.lines if options.in_order else slowest_first(found.lines)
    show({"phases": found.phases, "lines": lines}, options, _head(found))
    return 0


def _phase(text: str) -> tuple[str, str]:
    name, sign, pattern = text.partition("=")
    if not sign or not name or not pattern:
        raise TraceError(f"--phase {text!r} is not NAME=REGEX")
    return name, pattern


def _head(found: Timeline) -> str:
    if found.device is None:
        return "This machine has no console, so its trace has no lines to cut it by."
    end = found.lines["t_ns"][-1].as_py()
    return (
        f"{found.lines.num_rows - 1:,} lines of {found.device} in {duration(end)}; "
        "gap: host time since the line before, kernel: the guest kernel's"
    )
