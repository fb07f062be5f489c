"""The data that the page's script draws, as JSON-able values: densities as sparse rows, times of lines, phases and
waits."""

from typing import Any

from tracer.analysis.density import Binned
from tracer.analysis.summary import MOVING
from tracer.format.words import counted
from tracer.html.data import Findings, Wait
from tracer.show.output import duration
from vmspec.host.printable import printable
from vmspec.trace.record import NO_DEVICE

ROWS = 20  # rows of one density; the groups with the fewest exits share the last


def chart_data(findings: Findings) -> dict[str, Any]:
    """Times in ns. Each row of a density has its bins with exits (the first, then the distances), and for each the
    exits and the ns of handling."""
    titles = ("device and reason", "vCPU")
    return {
        "end": max(findings.end, 1),
        "densities": [
            {"title": title, "width": density.width, "rows": _rows(density)}
            for title, density in zip(titles, findings.densities, strict=False)
        ],
        "lines": [line.t for line in findings.console.lines],
        "phases": [
            _bar(
                row["t_ns"],
                row["time_ns"],
                row["paused_ns"],
                f"{printable(row['phase'])}, {counted(row['lines'], 'line')}",
                "busy",
            )
            for row in findings.phases.to_pylist()
        ]
        + [
            _bar(wait.start, wait.length, wait.paused, f"nothing printed until {_line(wait)}", "wait")
            for wait in findings.waits
        ]
        + [_bar(row["t_ns"], row["time_ns"], 0, "paused", "pause") for row in findings.pauses.to_pylist()],
    }


def _bar(start: int, length: int, paused: int, text: str, kind: str) -> list[Any]:
    """A time of the strip, with its pauses: its start, its end, its length without them, what it is, its kind."""
    return [start, start + length + paused, length, text + (f", paused for {duration(paused)}" if paused else ""), kind]


def _line(wait: Wait) -> str:
    return "the end of the run" if wait.line is None else f'"{wait.line}"'


def _rows(density: Binned) -> list[dict[str, Any]]:
    groups = [tuple(group[key] for key in density.keys) for group in density.totals().to_pylist()]
    shown = {group: index for index, group in enumerate(groups[: ROWS if len(groups) <= ROWS else ROWS - 1])}
    cells: list[dict[int, tuple[int, int]]] = [{} for _ in range(min(len(groups), ROWS))]
    columns = [density.table[name].to_pylist() for name in (*density.keys, "bin", "exits", "handling_ns")]
    for *group, bin_, exits, handler in zip(*columns, strict=True):
        row = cells[shown.get(tuple(group), -1)]
        before = row.get(bin_, (0, 0))
        row[bin_] = (before[0] + exits, before[1] + handler)
    names = [_name(density, group) for group in shown]
    names += [f"{len(groups) - len(shown)} others"] if len(groups) > len(shown) else []
    return [_sparse(name, row) for name, row in zip(names, cells, strict=True)]


def _name(density: Binned, group: tuple[Any, ...]) -> str:
    if density.keys == ("vcpu",):
        return f"vCPU {group[0]}"
    device, reason = (printable(str(part)) for part in group)
    if device != NO_DEVICE:
        return f"{device} {reason}"
    return f"no device {reason}" if reason in MOVING else reason  # a hlt is never a device's


def _sparse(name: str, row: dict[int, tuple[int, int]]) -> dict[str, Any]:
    bins = list(row)  # in order, as the density is
    return {
        "name": name,
        "bins": [after - before for before, after in zip([0, *bins], bins, strict=False)],
        "exits": [exits for exits, _ in row.values()],
        "ns": [handler for _, handler in row.values()],
    }
