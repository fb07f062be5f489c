"""Compares two sets of runs: medians and spreads of times and counts, and which differ beyond their noise.

For each quantity, a side's value is the median of its runs. Its spread is the median absolute deviation from that
median times 1.4826, which estimates the standard deviation of a normal distribution (Rousseeuw and Croux, 1993). The
sides differ if the distance of their medians is both

- more than ``threshold`` times A's median (any distance if that is zero), and
- more than ``noise`` times the sum of both spreads: intervals of ``noise`` spreads around the medians do not overlap.

One outlier in five runs moves neither a median nor a spread far. With one run per side the spread is zero, so only the
threshold decides. With fewer than five runs it is a poor estimate.
"""

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from statistics import median
from typing import Any

from attrs import frozen

from tracer.analysis.runs import length_ns
from tracer.analysis.tables import field
from tracer.analysis.totals import by, totals
from tracer.format.errors import TraceError
from tracer.read.console import Console
from tracer.read.reader import Trace, load

NORMAL = 1.4826  # 1 / the 75th percentile of the standard normal distribution
FEW = 5  # runs per side below which a spread is a poor estimate

Values = Mapping[str, float]


@frozen
class Distributions:
    """``tables``: ``times`` and ``exits``, of :func:`distribution_schema`. ``differs``: some quantity differs. ``text``
    says how many differ, in which runs."""

    tables: Mapping[str, Any]
    differs: bool
    text: str


@frozen
class Change:
    """One quantity. ``a`` and ``b`` are medians, None if a run of that side does not have it. ``change`` is B's
    distance from A as a share of A, None if it is undefined."""

    quantity: str
    a: float | None
    a_spread: float | None
    b: float | None
    b_spread: float | None
    change: float | None
    differs: bool


def schemas() -> dict[str, Any]:
    """The schemas of :class:`Distributions`'s tables."""
    return {"times": distribution_schema("ns"), "exits": distribution_schema("")}


def distribution_schema(unit: str) -> Any:
    """One row for each quantity, those that differ first; ``unit`` is "ns", or "" for a number of exits."""
    import pyarrow as pa

    number = pa.float64()
    return pa.schema(
        [
            field("quantity", pa.utf8(), "what was measured"),
            field("a", number, "median of A's runs; null: missing in a run", unit),
            field("a_spread", number, "spread of A's runs: median absolute deviation times 1.4826", unit),
            field("b", number, "median of B's runs", unit),
            field("b_spread", number, "spread of B's runs", unit),
            field("change", number, "B minus A, as a share of A; null: A is zero", "share"),
            field("differs", pa.bool_(), "whether the change exceeds the threshold and the noise"),
        ]
    )


def compare_runs(
    a: Sequence[Path],
    b: Sequence[Path],
    lines: Sequence[str] = (),
    threshold: float = 0.05,
    noise: float = 3.0,
    only: str = "*",
) -> Distributions:
    """Compare the runs of two sides. Each is a trace that is read once, one after another. ``lines``: also the time to
    the first console line that contains each; ``only``: a pattern of quantities (fnmatch).

    Raises TraceError if a file is not a trace, if no run prints one of the lines, or if nothing matches ``only``.
    """
    ours, theirs = ([measure(load(path), lines) for path in paths] for paths in (a, b))
    tables = {}
    changed = total = 0
    for name, unit in (("times", "ns"), ("exits", "")):
        sides = [[run[name] for run in runs] for runs in (ours, theirs)]
        found = [change(quantity, sides[0], sides[1], threshold, noise) for quantity in _quantities(sides, only)]
        changed += sum(item.differs for item in found)
        total += len(found)
        tables[name] = _table(found, unit)
    for line in lines:
        if not any(_to_line(line) in run["times"] for run in (*ours, *theirs)):
            raise TraceError(f"--line: no run prints a line with {line!r}")
    if not total:
        raise TraceError(f"--only: no quantity matches {only!r}")
    text = f"{changed:,} of {total:,} quantities differ by more than {100 * threshold:g}% and {noise:g} spreads"
    text += f"\nruns of A: {len(ours)}, of B: {len(theirs)}"
    if min(len(ours), len(theirs)) < FEW:
        text += f"; with fewer than {FEW} per side, spreads are unreliable"
    return Distributions(tables, changed > 0, text)


def measure(trace: Trace, lines: Sequence[str] = ()) -> dict[str, dict[str, float]]:
    """The quantities of one run: ``times`` in ns and ``exits``, by name."""
    kinds = totals(trace)
    length = length_ns(trace)
    times: dict[str, float] = {} if length is None else {"boot": length}
    if lines:
        printed = Console(trace, trace.devices).lines()
        for line in lines:
            first = next((entry.t for entry in printed if line in entry.text), None)
            if first is not None:
                times[_to_line(line)] = first
    exits: dict[str, float] = {}
    for prefix, keys in (
        ("all", []),
        ("reason ", ["reason"]),
        ("device ", ["device"]),
        ("address ", ["device", "reason", "addr", "direction"]),
    ):
        for row in sorted(_rows(kinds, keys), key=lambda row: -row["exits"]):
            if row.get("direction") == "none":
                continue  # such an exit has no address
            place = " ".join(f"{row[key]:#x}" if key == "addr" else row[key] for key in keys)
            exits[f"exits {prefix}{place}"] = row["exits"]
            if "addr" not in keys:  # most addresses have few exits, which say nothing about time
                times[f"handling {prefix}{place}"] = row["handling_ns"]
    return {"times": times, "exits": exits}


def change(quantity: str, a: Sequence[Values], b: Sequence[Values], threshold: float, noise: float) -> Change:
    """Apply the rule to one quantity. In a run without it, a count is 0 and a time to a line is missing."""
    missing = None if quantity.startswith("to ") or quantity == "boot" else 0.0
    ours, ours_spread = _middle([run.get(quantity, missing) for run in a])
    theirs, theirs_spread = _middle([run.get(quantity, missing) for run in b])
    if ours is None or ours_spread is None or theirs is None or theirs_spread is None:
        return Change(quantity, ours, ours_spread, theirs, theirs_spread, None, True)
    distance = abs(theirs - ours)
    differs = distance > threshold * abs(ours) and distance > noise * (ours_spread + theirs_spread)
    relative = (theirs - ours) / ours if ours else None
    return Change(quantity, ours, ours_spread, theirs, theirs_spread, relative, differs)


def spread(values: Sequence[float]) -> float:
    """The median absolute deviation, times 1.4826."""
    middle = median(values)
    return NORMAL * median([abs(value - middle) for value in values])


def _middle(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    """Median and spread; None if a run does not have the value."""
    known = [float(value) for value in values if value is not None]
    return (median(known), spread(known)) if len(known) == len(values) else (None, None)


def _to_line(line: str) -> str:
    return f"to {line!r}"


def _rows(kinds: Any, keys: Sequence[str]) -> list[dict[str, Any]]:
    import pyarrow.compute as pc

    if keys:
        rows: list[dict[str, Any]] = by(kinds, keys).to_pylist()
        return rows
    return [{name: pc.sum(kinds[name]).as_py() or 0 for name in ("exits", "handling_ns")}]


def _quantities(sides: Iterable[Sequence[Values]], only: str) -> list[str]:
    names = dict.fromkeys(name for runs in sides for run in runs for name in run)
    return [name for name in names if fnmatchcase(name, only)]


def _table(found: Sequence[Change], unit: str) -> Any:
    """The quantities as a table: those that differ first, then the general before the special."""
    import attrs
    import pyarrow as pa

    rows = [attrs.asdict(item) for item in sorted(found, key=lambda item: not item.differs)]
    return pa.Table.from_pylist(rows, schema=distribution_schema(unit))
