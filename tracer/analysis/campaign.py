"""What a campaign's runs have: how they ended, how long they took, and the numbers of their exits, by machine."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import median, quantiles
from typing import Any

from tracer.analysis.tables import Columns, schema, table
from tracer.read.campaign import Campaign, Machine

ENDS: Columns = (
    ("machine", "utf8", "", "spec and overrides"),
    ("status", "int64", "", "vmrun's exit status"),
    ("kind", "utf8", "", "how the run ended; null: there was no run"),
    ("runs", "int64", "", "number of runs"),
    ("share", "float64", "share", "share of the machine's runs"),
    ("error", "utf8", "text", "what the first of them reports"),
)
MACHINES: Columns = (
    ("machine", "utf8", "", "spec and overrides"),
    ("runs", "int64", "", "number of runs"),
    ("failed", "int64", "", "runs with an exit status other than 0"),
    ("p5_ns", "float64", "ns", "time of a run, 5th percentile of those that did not fail"),
    ("median_ns", "float64", "ns", "the same, median"),
    ("p95_ns", "float64", "ns", "the same, 95th percentile"),
    ("exits_min", "int64", "", "smallest number of exits of those runs"),
    ("exits", "float64", "", "median number of exits of those runs"),
    ("exits_max", "int64", "", "largest number of exits of those runs"),
)


def distributed(unit: str) -> Columns:
    """The columns of how a quantity of this unit is distributed."""
    return (
        ("machine", "utf8", "", "spec and overrides"),
        ("quantity", "utf8", "text", "what was measured"),
        ("runs", "int64", "", "runs that did not fail and have it"),
        ("least", "float64", unit, "the smallest value"),
        ("p5", "float64", unit, "5th percentile"),
        ("median", "float64", unit, "median"),
        ("p95", "float64", unit, "95th percentile"),
        ("most", "float64", unit, "the largest value"),
    )


UNITS = {"times": "ns", "exits": ""}


def schemas() -> dict[str, Any]:
    """The schemas of :func:`summarised`'s tables."""
    return {"machines": schema(MACHINES), "ends": schema(ENDS)}


def summarised(campaign: Campaign) -> dict[str, Any]:
    """The tables ``machines``, a row for each, and ``ends``, a row for each way in which its runs ended, the most
    frequent first. Boots often have several typical times, so there are quantiles and no means."""
    machines, ends = [], []
    for machine, rows in campaign.machines.items():
        passed = [row for row in rows if row["status"] == 0]
        times = [row["seconds"] * 1e9 for row in passed if row["seconds"] is not None]
        exits = [row["exits"] for row in passed if row["exits"] is not None]
        counts = (min(exits, default=None), middle(exits), max(exits, default=None))
        machines.append((str(machine), len(rows), len(rows) - len(passed), *spread(times), *counts))
        ways = Counter((row["status"], row["kind"]) for row in rows)
        for (status, kind), count in ways.most_common():
            first = next(row["error"] for row in rows if (row["status"], row["kind"]) == (status, kind))
            ends.append((str(machine), status, kind, count, count / len(rows), first))
    return {"machines": table(MACHINES, machines), "ends": table(ENDS, ends)}


def quantities(campaign: Campaign) -> dict[str, Any]:
    """The tables ``times`` and ``exits``: how each quantity of each machine is distributed."""
    found: dict[str, list[tuple[Any, ...]]] = {kind: [] for kind in UNITS}
    for machine, rows in campaign.machines.items():
        for kind, names in measured(rows).items():
            for name, values in names.items():
                if values:
                    spans = min(values), *spread(values), max(values)
                    found[kind].append((str(machine), name, len(values), *spans))
    return {kind: table(distributed(unit), found[kind]) for kind, unit in UNITS.items()}


def spread(values: Sequence[float]) -> tuple[float | None, float | None, float | None]:
    """The 5th percentile, the median and the 95th percentile; None if there are no values."""
    if len(values) < 2:
        only = values[0] if values else None
        return only, only, only
    cuts = quantiles(values, n=20, method="inclusive")
    return cuts[0], cuts[9], cuts[18]


def middle(values: Sequence[float]) -> float | None:
    """The median; None if there are no values."""
    return median(values) if values else None


def measured(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, list[float]]]:
    """The quantities of the runs that did not fail: ``times`` in ns and ``exits``, each a value for each run that has
    it. A run without exits of a device and reason has 0 of them."""
    passed = [row for row in rows if row["status"] == 0]
    times: dict[str, list[float]] = {}
    exits: dict[str, list[float]] = {"all": [row["exits"] for row in passed if row["exits"] is not None]}
    _put(times, "run", [row["seconds"] * 1e9 for row in passed if row["seconds"] is not None])
    _put(times, "handling", [row["handling_ns"] for row in passed if row["handling_ns"] is not None])
    for row in passed:
        for phase in row["phases"] if len(row["phases"] or ()) > 1 else ():  # a single one is the run
            times.setdefault(f"phase {phase['phase']}", []).append(phase["time_ns"])
    groups = [{_group(group): group["exits"] for group in row["groups"] or ()} for row in passed]
    for name in sorted({name for row in groups for name in row}):
        exits[name] = [row.get(name, 0) for row in groups]
    return {"times": times, "exits": exits}


def _put(into: dict[str, list[float]], name: str, values: list[float]) -> None:
    if values:
        into[name] = values


def _group(group: Mapping[str, Any]) -> str:
    device = group["device"]
    return f"{group['reason']} {device}" if device not in (None, "-") else group["reason"]


def named(machines: Iterable[Machine]) -> str:
    """Machines as a list for people."""
    return ", ".join(map(str, machines))
