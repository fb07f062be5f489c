"""A boot divided by the console's lines: the wait before each line, and the phases that lines begin.

Two clocks are shown side by side: the host's, at which a line's first byte was written, and the guest kernel's, which
printk puts before a line. They differ if lines were kept until the kernel had a console, and if the vCPU did not run.
Both stand still while the machine is paused.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from attrs import frozen

from tracer.analysis.account import Span, pauses, run_end, within
from tracer.analysis.merge import machines
from tracer.analysis.tables import schema, table
from tracer.format.errors import TraceError
from tracer.read.console import Console, Line
from tracer.read.reader import Trace

# Documentation/admin-guide/kernel-parameters (printk.time), and the caller that CONFIG_PRINTK_CALLER adds.
KERNEL_TIME = re.compile(r"^(?:<\d+>)?\[ *(\d{1,9})\.(\d{6})\](?:\[ *[CT]\d+\])? ?")

# Names of phases, and the text of the line that begins each; a phase whose line never came is left out.
LINUX = {
    "printing the log so far": r"Linux version ",
    "processors, timekeeping": r"printk: .*console \[\w+\] enabled",
    "kernel subsystems": r"devtmpfs: initialized",
    "drivers": r"Serial: 8250/16550 driver",
    "init": r"Run \S+ as init process",
    "shutting down": r"reboot: |Preparing to enter system sleep state",
}
KEPT = 500_000  # lines kept at the start of a console, and again at its end
BEFORE, WHOLE = "before the first line", "the whole run"

_SPAN = (
    ("exits", "int64", "", "exits of all vCPUs in that time"),
    ("handling_ns", "int64", "ns", "their handling time, summed over the vCPUs"),
)
_LINES = (
    ("t_ns", "int64", "ns", "when the line's first byte was written, since the machine started"),
    (
        "gap_ns",
        "int64",
        "ns",
        "host time since the first byte of the previous line, or since the start, without pauses",
    ),
    ("paused_ns", "int64", "ns", "time since then in which the machine was paused"),
    (
        "kernel_ns",
        "int64",
        "ns",
        "guest kernel's time since the previous line with a timestamp; null: this line has none",
    ),
    *_SPAN,
    ("line", "utf8", "text", "the line; null: the end of the run"),
)
_PHASES = (
    ("phase", "utf8", "", "what the guest is doing"),
    ("t_ns", "int64", "ns", "when it began, since the machine started"),
    ("time_ns", "int64", "ns", "its length by the host's clock, without pauses"),
    ("paused_ns", "int64", "ns", "time in it in which the machine was paused"),
    ("share", "float64", "share", "time_ns as a share of the length of the run without pauses"),
    ("kernel_ns", "int64", "ns", "its length by the guest kernel's clock; null: unknown"),
    *_SPAN,
    ("lines", "int64", "", "number of console lines in it"),
)
_PAUSES = (
    ("t_ns", "int64", "ns", "when all vCPUs had stopped, since the machine started"),
    ("time_ns", "int64", "ns", "length of the pause"),
)


def schemas() -> dict[str, Any]:
    """The schemas of :class:`Timeline`'s tables."""
    return {"phases": schema(_PHASES), "lines": schema(_LINES), "pauses": schema(_PAUSES)}


@frozen
class Timeline:
    """``phases``, ``lines``, each with the gap before it, and ``pauses`` of the machine, by time; ``device`` is the
    device that prints the console, None: there is no console.

    The last row of ``lines`` is the end of the run. ``count`` is the number of lines printed. If there are more than
    are kept, the row ``at`` of ``lines`` stands for those ``left_out``.
    """

    device: str | None
    phases: Any
    lines: Any
    pauses: Any
    count: int
    left_out: int
    at: int | None


def timeline(trace: Trace, device: str | None = None, phases: Mapping[str, str] = LINUX, keep: int = KEPT) -> Timeline:
    """The timeline of a trace; of a merged one, that of the console's own machine.

    ``phases`` are names and regular expressions of the lines that begin them, in any order. Of very many lines the
    first and the last ``keep`` are kept.

    Raises TraceError for a device that is not a console, or an invalid expression.
    """
    patterns = {name: _pattern(text) for name, text in phases.items()}
    console = Console(trace, trace.devices, device)
    lines, left_out, at = console.abridged(keep)
    # Marks divide the trace into spans: its start, each line, its end. A span belongs to the mark at its end.
    vcpus = _vcpus(trace, console.device)
    marks, (last, exits, handling) = _handled(trace, [line.row for line in lines], vcpus)
    end = run_end(trace, last, vcpus), exits, handling
    spans = list(pairwise([(0, 0, 0), *zip([line.t for line in lines], *marks, strict=True), end]))
    times = [*map(kernel_time, (line.text for line in lines)), None]
    count = len(lines) if at is None else len(lines) - 1 + left_out
    still = pauses(trace, vcpus)
    cut = _phases(lines, spans, times, still, patterns, left_out, at)
    stood = table(_PAUSES, [(start, stop - start) for start, stop in still])
    device = ", ".join(console.devices) or None
    return Timeline(device, cut, _lines(lines, spans, times, still), stood, count, left_out, at)


def kernel_time(text: str) -> int | None:
    """The time that printk put before a line, in ns; None if it has none."""
    found = KERNEL_TIME.match(text)
    return int(found[1]) * 10**9 + int(found[2]) * 1000 if found else None


def slowest_first(lines: Any) -> Any:
    """The lines of a timeline, those after the longest gaps first."""
    return lines.sort_by([("gap_ns", "descending"), ("t_ns", "ascending")])


Mark = tuple[int, int, int]  # time, exits before it, and their handling time


def _vcpus(trace: Trace, device: str | None) -> list[int] | None:
    """The vCPUs of a console's machine in a merged trace; None: all."""
    if device is None:
        return None
    name = device.partition("/")[0]  # names of machines contain no slash; device names may
    return [vcpu for vcpu, machine in machines(trace.metadata).items() if machine == name] or None


def _handled(
    trace: Trace, rows: Sequence[int], vcpus: Sequence[int] | None
) -> tuple[tuple[list[int], list[int]], Mark]:
    """For each of some rising row numbers, the exits before it and their handling time; and the mark of the end. Only
    exits of these vCPUs count."""
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = None if vcpus is None else pa.array(vcpus)
    counts: list[int] = []
    sums: list[int] = []
    first = exits = total = last = 0
    for batch in trace.batches(["t_exit", "t_entry", *([] if wanted is None else ["vcpu"])]):
        entry, spent = batch["t_entry"], pc.subtract(batch["t_entry"], batch["t_exit"])
        end = first + batch.num_rows
        here = rows[len(sums) : bisect_left(rows, end)]
        before = _before(here, first)
        if wanted is None:
            counts += here
            exits = end
        else:
            ours = pc.is_in(batch["vcpu"], wanted).cast(pa.int64())
            entry, spent = pc.multiply(entry, ours), pc.multiply(spent, ours)
            counts += before(ours, exits)
            exits += pc.sum(ours).as_py()
        sums += before(spent, total)
        first, total = end, total + pc.sum(spent).as_py()
        last = max(last, pc.max(entry).as_py())
    # A damaged stream may have fewer whole batches of these columns than of the console's.
    counts += [exits] * (len(rows) - len(counts))
    sums += [total] * (len(rows) - len(sums))
    return (counts, sums), (last, exits, total)


def _before(rows: Sequence[int], first: int) -> Callable[[Any, int], list[int]]:
    """The sums of a column before each of these rows of a batch whose first row is ``first``."""
    import pyarrow as pa
    import pyarrow.compute as pc

    # The sum before row n is the sum after row n - 1; before the first it is 0.
    at = pa.array([max(row - first - 1, 0) for row in rows], pa.int64())

    def sums(column: Any, so_far: int) -> list[int]:
        values = pc.cumulative_sum(column).take(at).to_pylist()
        return [so_far + (value if row > first else 0) for row, value in zip(rows, values, strict=True)]

    return sums


def _lines(
    lines: Sequence[Line], spans: Sequence[tuple[Mark, Mark]], times: Sequence[int | None], still: Sequence[Span]
) -> Any:
    found: list[tuple[Any, ...]] = []
    clock: int | None = None
    for (start, stop), time, text in zip(spans, times, [*(line.text for line in lines), None], strict=True):
        kernel = None if time is None else time - (clock or 0)
        clock = clock if time is None else time
        paused = within(start[0], stop[0], still)
        gap = stop[0] - start[0] - paused
        found.append((stop[0], gap, paused, kernel, stop[1] - start[1], stop[2] - start[2], text))
    return table(_LINES, found)


def _phases(
    lines: Sequence[Line],
    spans: Sequence[tuple[Mark, Mark]],
    times: Sequence[int | None],
    still: Sequence[Span],
    patterns: Mapping[str, re.Pattern[str]],
    left_out: int,
    at: int | None,
) -> Any:
    begins: dict[int, str] = {}
    for name, pattern in patterns.items():
        first = next((index for index, line in enumerate(lines) if pattern.search(line.text)), None)
        if first is not None:
            begins.setdefault(first, name)
    cuts = sorted(begins)
    whole = spans[-1][1][0] - within(0, spans[-1][1][0], still)
    found: list[tuple[Any, ...]] = []
    # Line n ends span n, so the phase that it begins starts with span n + 1.
    for start, stop in pairwise([-1, *cuts, len(lines)]):
        begin, end = spans[start + 1][0], spans[stop][1]
        known = [time for time in times[max(start, 0) : stop + 1] if time is not None]
        kernel = known[-1] - known[0] if start >= 0 and len(known) > 1 else None
        paused = within(begin[0], end[0], still)
        time = end[0] - begin[0] - paused
        before = WHOLE if not cuts else BEFORE if cuts[0] == 0 else f"before {begins[cuts[0]]}"
        name = begins.get(start, before)
        share = time / whole if whole else None
        count = stop - max(start, 0) + (left_out - 1 if at is not None and start <= at < stop else 0)
        found.append((name, begin[0], time, paused, share, kernel, end[1] - begin[1], end[2] - begin[2], count))
    return table(_PHASES, found)


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise TraceError(f"{text!r} is not a regular expression: {error}") from error
