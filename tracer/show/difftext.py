"""A difference of two traces as text, in the style of ``diff -u``, as wide as the terminal."""

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tracer.analysis.alignment import LOST, SEARCHES, Alignment
from tracer.analysis.difference import Difference
from tracer.analysis.hunks import BOTH, ONLY_B, Line
from tracer.analysis.runs import length_ns
from tracer.format.words import counted
from tracer.read.reader import Trace
from tracer.show.output import cut, duration
from vmspec.host.printable import printable
from vmspec.host.streams import WIDEST, columns
from vmspec.trace import keys

WIDTH = 100  # if there is no terminal
PAYLOAD = 12  # bytes of a payload that are shown
LINE = 40  # columns of a console's line
# Cells of a row, and the columns that each shows.
CELLS = {
    "reason": ("reason",),
    "device": ("device",),
    "addr": ("addr",),
    "access": ("direction", "size", "count"),
    "data": ("data", "payload"),
    "rip": ("rip",),
}
KERNEL = re.compile("0xffffffff(?=[0-9a-f]{8}\\b)")
RIGHT = ("row", "t_exit", "addr", "data", "rip")


def as_text(a: Trace, b: Trace, found: Difference) -> str:
    """The verdict, and the rows around the first difference of each vCPU."""
    rows_a = sum(alignment.a.row for alignment in found.alignments.values())
    rows_b = sum(alignment.b.row for alignment in found.alignments.values())
    blocks = [f"A  {_run(a, rows_a)}\nB  {_run(b, rows_b)}", *(_fill(note) for note in found.notes)]
    compared = ", ".join(found.columns)
    if found.same:
        blocks.append(_fill(f"EQUAL: {'all ' * (rows_a != 1)}{counted(rows_a, 'exit')}, in {compared}."))
    else:
        differ = [vcpu for vcpu, alignment in found.alignments.items() if not alignment.same]
        vcpus = f"vCPU {', '.join(map(str, differ))}"
        blocks.append(_fill(f"DIFFERENT: {vcpus}. Compared: {compared}."))
    for vcpu, alignment in found.alignments.items():
        if not alignment.same:
            blocks.append("\n".join(_vcpu(vcpu, alignment, found.hunks[vcpu], found.printed[vcpu])))
        elif not found.same:
            blocks.append(f"vCPU {vcpu}: {counted(alignment.equal, 'exit')}, all equal")
    return "\n\n".join(blocks)


def _run(trace: Trace, rows: int) -> str:
    length = length_ns(trace)
    time = f" in {duration(length)}" if length is not None else ""
    started = f", started {printable(trace.metadata[keys.STARTED])}" if keys.STARTED in trace.metadata else ""
    return f"{printable(str(trace.path))}: {counted(rows, 'exit')}{time}{started}"


def _vcpu(vcpu: int, found: Alignment, lines: Sequence[Line], printed: tuple[str | None, str | None]) -> Iterator[str]:
    yield f"vCPU {vcpu}: {counted(found.a.row, 'exit')} in A, {found.b.row:,} in B; {found.equal:,} equal"
    kinds = ", ".join(
        f"{found.kinds[kind]:,} {kind}" for kind in ("changed", "deleted", "inserted") if found.kinds[kind]
    )
    yield f"  blocks:  {kinds}"
    counts = {"changed": found.changed, "only in A": found.deleted, "only in B": found.inserted}
    yield "  exits:   " + ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
    if found.columns:
        changed = ", ".join(f"{name} ({count:,})" for name, count in found.columns.most_common())
        yield _fill(f"  changed: {changed}", " " * 11)
    if found.unaligned is not None:
        why = f"--resync was used up, or {LOST} times {SEARCHES[-1][0]:,} exits had nothing in common"
        rest = f"  not aligned: the last {found.unaligned[0]:,} of A and {found.unaligned[1]:,} of B ({why})"
        yield _fill(rest, " " * 4)
    for side, text in zip("AB", printed, strict=True):
        if text is not None:
            yield cut(f"  console of {side} there: {printable(text.expandtabs())}", columns() or WIDEST)
    yield ""
    yield from hunk(lines)


def hunk(lines: Sequence[Line]) -> Iterator[str]:
    """The rows, under a heading; differences are in square brackets. Rows of both traces are shown as in A."""
    rows = [_cells(line) for line in lines]
    width = columns() or WIDEST
    names = ["row", "t_exit", *CELLS]
    widths = _widths(names, rows)
    if _total(widths) > width:  # a kernel's addresses begin with the same digits
        for cells in rows:
            cells["rip"] = KERNEL.sub("\N{HORIZONTAL ELLIPSIS}", cells.get("rip", ""))
        widths = _widths(names, rows)
    if _total(widths) > width and not any("reason" in line.differs for line in lines):  # the rest shows it too
        names.remove("reason")
        widths = _widths(names, rows)
    for mark, cells in [
        ("", {name: name for name in names}),
        *((line.mark, cells) for line, cells in zip(lines, rows, strict=True)),
    ]:
        if "left out" in cells:
            yield f"  {mark} {cells['left out']}"
            continue
        text = " ".join(
            cells[name].rjust(widths[name]) if name in RIGHT else cells[name].ljust(widths[name]) for name in names
        )
        yield cut(f"  {mark or BOTH} {text}".rstrip(), width)


def _widths(names: Sequence[str], rows: Sequence[Mapping[str, str]]) -> dict[str, int]:
    return {name: max(len(name), *(len(cells.get(name, "")) for cells in rows)) for name in names}


def _total(widths: Mapping[str, int]) -> int:
    return 3 + sum(width + 1 for width in widths.values())


def _fill(text: str, indent: str = "") -> str:
    return textwrap.fill(text, columns() or WIDTH, subsequent_indent=indent)


def _cells(line: Line) -> dict[str, str]:
    if line.left_out:
        return {"left out": f"... {line.left_out:,} more"}
    values = line.values
    number = line.row_b if line.mark == ONLY_B else line.row_a
    cells = {"row": f"{number:,}", "t_exit": f"{values['t_exit'] / 1e9:.6f} s"}
    for name, shown in CELLS.items():
        text = _cell(name, values)
        cells[name] = f"[{text}]" if set(shown) & set(line.differs) else text
    return cells


def _cell(name: str, values: Mapping[str, Any]) -> str:
    match name:
        case "addr":
            return f"{values['addr']:#x}"
        case "rip":
            return f"{values['rip']:#x}"
        case "device" if values["place"]:
            return printable(values["place"])
        case "access" if values["direction"] == "none":
            return "-"
        case "access":
            return f"{values['direction']} {values['size']}" + (f"x{values['count']}" if values["count"] != 1 else "")
        case "data" if values.get("line") is not None:
            return cut(printable(values["line"].expandtabs()), LINE)
        case "data" if values["payload"]:
            payload: bytes = values["payload"]
            return payload[:PAYLOAD].hex() + ("..." if len(payload) > PAYLOAD else "")
        case "data":
            data = values["data"]
            character = f" {chr(data)!r}" if values["size"] == 1 and 0x20 < data < 0x7F else ""
            return f"{data:#x}{character}"
    return printable(str(values[name]))
