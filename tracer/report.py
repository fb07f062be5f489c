"""A summary as text for a terminal of 100 columns, and as JSON."""

import json
import textwrap
from collections.abc import Iterator, Sequence

import attrs

from tracer.console import Line
from tracer.output import duration, printable
from tracer.summary import ByAddress, Exits, Summary

WIDTH = 100  # columns of the terminal
SHOWN = 15  # rows of a long table, unless all are asked for
TEXT_WIDTH = 58  # of a console line: with its times 100


def as_json(summary: Summary) -> str:
    """Everything, as JSON; times in ns, addresses as numbers."""
    return json.dumps(attrs.asdict(summary), indent=2)


def as_text(summary: Summary, everything: bool) -> Iterator[str]:
    """The report, a block at a time; long tables cut to their most frequent rows unless ``everything``."""
    result = " ".join(f"{key} {printable(str(value))}" for key, value in summary.result.items() if value is not None)
    state = "complete" if summary.complete else "NOT COMPLETE"
    yield f"{summary.rows:,} exits in {duration(summary.duration_ns)}, {state}" + (f"; end: {result}" if result else "")
    yield "\n".join(textwrap.fill(printable(note), WIDTH, subsequent_indent="  ") for note in summary.notes)
    limit = None if everything else SHOWN
    head = ["exits", "bytes", "handling", "mean", "longest"]
    yield _table("Exits by reason", ["reason", *head], [[row.reason, *_exits(row)] for row in summary.reasons], None)
    yield _table("Exits by device", ["device", *head], [[row.device, *_exits(row)] for row in summary.devices], None)
    where = ["device", "reason", "address", "access"]
    yield _table("Exits by address", [*where, *head], [_address(row) for row in summary.addresses], limit)
    yield _table("Claimed by no device", [*where, *head], [_address(row) for row in summary.unclaimed], limit)
    yield _time(summary)
    if summary.lines:
        yield _console(summary, limit)


def _exits(row: Exits) -> list[str]:
    mean = duration(row.handler_ns // row.exits)
    return [f"{row.exits:,}", f"{row.bytes:,}", duration(row.handler_ns), mean, duration(row.longest_ns)]


def _address(row: ByAddress) -> list[str]:
    access = f"{row.direction} {row.size}" if row.size else row.direction
    return [row.device, row.reason, f"{row.addr:#x}", access, *_exits(row)]


def _time(summary: Summary) -> str:
    rows = [
        [
            str(row.vcpu),
            f"{row.exits:,}",
            *map(duration, (row.first_ns, row.guest_ns, row.handler_ns, row.hlt_ns)),
            "-" if row.halted_ns is None else duration(row.halted_ns),
        ]
        for row in summary.vcpus
    ]
    head = ["vCPU", "exits", "to first exit", "in guest", "handling", "of it hlt", "halted in kernel"]
    return _table("Time by vCPU", head, rows, None)


def _console(summary: Summary, limit: int | None) -> str:
    lines: Sequence[Line] = summary.lines
    title = f"Console ({summary.console}), {len(lines):,} lines"
    if limit is not None and len(lines) > limit:
        slowest = sorted(range(len(lines)), key=lambda index: -lines[index].gap)[:limit]
        lines = [lines[index] for index in sorted(slowest)]
        title += f"; the {limit} after the longest gaps"
    rows = [
        [f"{line.t / 1e9:.6f} s", duration(line.gap), f"{line.exits:,}", printable(line.text)[:TEXT_WIDTH]]
        for line in lines
    ]
    return _table(title, ["first byte", "gap before", "exits in it", "line"], rows, None, left=(3,))


def _table(
    title: str, head: list[str], rows: list[list[str]], limit: int | None, left: tuple[int, ...] | None = None
) -> str:
    """A titled table. Columns of names are aligned left, of numbers right: ``left`` names the former."""
    if not rows:
        return f"{title}: none"
    left = tuple(range(head.index("exits"))) if left is None else left
    shown = rows[:limit]
    widths = [max(len(row[index]) for row in [head, *shown]) for index in range(len(head))]
    body = [
        "  ".join(
            cell.ljust(width) if index in left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [head, *shown]
    ]
    if len(shown) < len(rows):
        body.append(f"... and {len(rows) - len(shown):,} more (--all)")
    return "\n".join([title, *("  " + line for line in body)])
