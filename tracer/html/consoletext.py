"""The console for a page: the lines of a timeline, made readable."""

import re
from itertools import accumulate

from attrs import frozen

from tracer.analysis.timeline import Timeline
from vmspec.host.printable import printable

LINES = 4000  # lines shown at the start, and again at the end
WIDTH = 2000  # characters shown of a line

# ECMA-48: control sequences (CSI), and strings (OSC and its like) that end with BEL or ST.
ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")


@frozen
class Printed:
    """A readable line: ``t`` is when its first byte was written, ``gap`` the time since the line before (since the
    start for the first), both in ns."""

    t: int
    gap: int
    text: str


@frozen
class Text:
    """Console lines, in order. If ``left_out`` is not 0, that many lines are missing before line ``resumes``."""

    device: str | None
    lines: tuple[Printed, ...]
    resumes: int
    left_out: int


def console_text(found: Timeline) -> Text:
    """The console of a page, from a timeline whose ``keep`` was :data:`LINES`."""
    rows = found.lines.slice(0, found.lines.num_rows - 1).to_pylist()  # the last row is the end of the run
    if found.at is not None:
        del rows[found.at]
    # A damaged trace may have any times; the code below relies on their order.
    times = accumulate((row["t_ns"] for row in rows), max, initial=0)
    next(times)
    lines = tuple(Printed(t, row["gap_ns"], readable(row["line"])) for t, row in zip(times, rows, strict=True))
    return Text(found.device, lines, found.at or 0, found.left_out)


def readable(line: str) -> str:
    """A line without escape sequences and control characters, cut if it is very long."""
    text = ESCAPES.sub("", line[: 4 * WIDTH]).expandtabs(8).rstrip("\r")
    cut = "\N{HORIZONTAL ELLIPSIS}" if len(text) > WIDTH or len(line) > 4 * WIDTH else ""
    return printable(text[:WIDTH]) + cut
