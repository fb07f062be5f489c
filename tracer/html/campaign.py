"""The page of a campaign, or of two: a small plot of each quantity for each machine, and the tables.

The plots of a quantity have the same axes. Boots often have several typical times, so a plot shows the distribution,
and no mean. The runs that failed are marks below it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tracer.analysis.campaign import measured, middle, quantities, summarised
from tracer.analysis.regression import Regression
from tracer.format.words import counted
from tracer.html.histogram import HEIGHT, WIDTH, Axis, axis, outline, shares
from tracer.html.tables import Cells, described
from tracer.html.template import page
from tracer.read.campaign import Campaign, Machine
from tracer.show.output import cell

QUANTITIES, MACHINES, MARKS = 60, 60, 200  # of each at most in a page, in a row and in a strip
TITLES = {"machines": "Machines", "ends": "How the runs ended", "times": "Times", "exits": "Exits"}
TITLES |= {"failures": "Shares of runs that failed"}
Key = tuple[str, str]  # of a quantity: times or exits, and its name
Values = Mapping[str, Mapping[str, Sequence[float]]]


class Strip(NamedTuple):
    """The runs of one campaign. Places are from 0 to WIDTH."""

    name: str
    path: str
    median: float | None
    marks: tuple[float, ...]
    text: str


class Plot(NamedTuple):
    """A machine's runs. ``verdict`` compares them, of two campaigns; ``differs`` if they do."""

    machine: str
    strips: tuple[Strip, ...]
    verdict: str
    differs: bool


class Quantity(NamedTuple):
    """Plots on common axes, and ``more`` machines that are left out."""

    name: str
    kind: str
    ends: tuple[str, str]
    log: bool
    plots: tuple[Plot, ...]
    more: int


def render(campaigns: Sequence[Campaign], compared: Regression | None = None) -> str:
    """The page of one campaign, or of two that were compared. Raises TraceError where jinja2 is not installed."""
    known = [machine for machine in campaigns[0].machines if all(machine in one.machines for one in campaigns)]
    values = [{machine: measured(one.machines[machine]) for machine in known} for one in campaigns]
    tests = _tests(compared)
    names = "AB" if compared else ("",)
    shown, constant = [], []
    for key in _keys(values):
        every = [value for side in values for found in side.values() for value in found[key[0]].get(key[1], ())]
        if len({*every}) == 1:
            constant.append((_title(key), _text(key, every[0])))
        else:
            shown.append(_quantity(key, every, known, list(zip(names, campaigns, values, strict=True)), tests))
    shown.sort(key=lambda quantity: not any(plot.differs for plot in quantity.plots))
    tables = compared.tables if compared else {**summarised(campaigns[0]), **quantities(campaigns[0])}
    return page(
        "campaign.html",
        "campaign.css",
        title="Two campaigns" if compared else "A campaign",
        head=_head(campaigns, known, compared),
        compared=compared is not None,
        quantities=shown[:QUANTITIES],
        more=max(0, len(shown) - QUANTITIES),
        constant=constant,
        tables={TITLES[name]: _cells(table) for name, table in tables.items()},
        width=WIDTH,
        height=HEIGHT,
    )


def _cells(table: Any) -> Cells:
    return described(table, most=table.num_rows)


def _head(campaigns: Sequence[Campaign], known: Sequence[Machine], compared: Regression | None) -> list[str]:
    if compared:
        return compared.text.split("\n")
    (one,) = campaigns
    failed = sum(row["status"] != 0 for rows in one.machines.values() for row in rows)
    runs = sum(map(len, one.machines.values()))
    lines = [f"{runs:,} runs of {len(known):,} machines; {failed:,} failed"]
    return lines + ([f"{one.waiting:,} more runs are in its journal"] if one.waiting else [])


def _keys(values: Sequence[Mapping[Machine, Values]]) -> list[Key]:
    """The quantities, in the order in which they were found."""
    found = (values for side in values for values in side.values())
    pairs = ((kind, name) for one in found for kind in one for name in one[kind] if one[kind][name])
    return sorted(dict.fromkeys(pairs), key=lambda key: key[0] != "times")


def _quantity(
    key: Key,
    every: Sequence[float],
    known: Sequence[Machine],
    sides: Sequence[tuple[str, Campaign, Mapping[Machine, Values]]],
    tests: Mapping[tuple[str, str, str], Mapping[str, Any]],
) -> Quantity:
    kind, name = key
    on = axis(every, kind == "exits")
    bins = {
        (side, machine): shares(found, on)
        for side, _, values in sides
        for machine in known
        if (found := values[machine][kind].get(name))
    }
    most = max(max(heights) for heights in bins.values())
    plots = []
    for machine in known[:MACHINES]:
        strips = []
        for side, one, values in sides:
            found = values[machine][kind].get(name, ())
            heights = bins.get((side, machine), [0.0])
            failed = [*_failed(key, one.machines[machine])]
            bad = sum(row["status"] != 0 for row in one.machines[machine])
            strips.append(_strip(key, side, found, outline(heights, most), on, failed, bad))
        test = tests.get((kind, str(machine), name), {})
        plots.append(Plot(_name(machine, known), tuple(strips), _verdict(test), bool(test.get("differs"))))
    beside = 0.5 if kind == "exits" and not on.log else 0  # the axis ends beside its last numbers
    ends = _text(key, on.low + beside), _text(key, on.high - beside)
    return Quantity(_title(key), kind, ends, on.log, tuple(plots), max(0, len(known) - MACHINES))


def _name(machine: Machine, known: Sequence[Machine]) -> str:
    """What tells a machine from the others."""
    if not machine.values or len({one.spec for one in known}) > 1:
        return str(machine)
    return ", ".join(f"{key}={value}" for key, value in machine.values)


def _strip(
    key: Key, side: str, found: Sequence[float], path: str, on: Axis, failed: Sequence[float], bad: int
) -> Strip:
    median = middle(found)
    text = f"{counted(len(found), 'run')}, median {_text(key, median)}" if median is not None else "no run has it"
    text += f"; {bad:,} failed" if bad else ""
    marks = tuple(round(WIDTH * on.place(value), 1) for value in failed[:MARKS])
    return Strip(side, path, None if median is None else round(WIDTH * on.place(median), 1), marks, text)


def _failed(key: Key, rows: Sequence[Mapping[str, Any]]) -> Iterator[float]:
    """The values of the runs that failed, of the two quantities that each of them has."""
    for row in rows:
        if row["status"] != 0 and row["seconds"] is not None:
            if key == ("times", "run"):
                yield row["seconds"] * 1e9
            elif key == ("exits", "all") and row["exits"] is not None:
                yield row["exits"]


def _tests(compared: Regression | None) -> dict[tuple[str, str, str], dict[str, Any]]:
    """The rows of a comparison, by table, machine and quantity."""
    return {
        (name, row["machine"], row["quantity"]): row
        for name, table in (compared.tables.items() if compared else ())
        for row in table.to_pylist()
    }


def _verdict(test: Mapping[str, Any]) -> str:
    if not test:
        return ""
    verdict = "differs" if test["differs"] else "does not differ"
    return f"B {verdict}: effect {test['effect']:+.2f}, p {test['p']:.2g}"


def _title(key: Key) -> str:
    kind, name = key
    if kind == "exits":
        return "exits in all" if name == "all" else f"exits: {name}"
    return {"run": "time of a run", "handling": "time of handling"}.get(name, name)


def _text(key: Key, value: float) -> str:
    return str(cell(value, "ns")) if key[0] == "times" else f"{value:,.0f}"
