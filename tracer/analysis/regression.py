"""Whether two campaigns differ: each quantity of each machine by a rank test, with the size of the effect.

Boots often have several typical times, and single runs far from all others. A rank test asks only how often a run of B
takes longer than one of A, so neither matters (Mann and Whitney, 1947). A quantity differs if both

- its p-value is at most ``alpha``, after all p-values were corrected for their number (Holm, 1979): of all campaigns
  that do not differ, the share ``alpha`` has a quantity that is said to;
- the effect is at least ``effect``: Cliff's delta, the share of pairs in which B is larger, minus the share in which A
  is. It is 0 if neither tends to be larger, and 1 or -1 if all of one side are (Cliff, 1993; from 0.33 on it counts as
  medium: Romano and others, 2006).

The shares of runs that failed are compared by Fisher's exact test; a difference of any size counts.
"""

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from attrs import frozen

from tracer.analysis.campaign import measured, middle, named
from tracer.analysis.tables import Columns, schema, table
from tracer.format.errors import TraceError
from tracer.read.campaign import Campaign, Machine

Rows = Sequence[Mapping[str, Any]]

FEW = 8  # runs per side below which hardly any difference can be shown


class Tested(NamedTuple):
    """A quantity of a machine on both sides, with its p-value before the correction."""

    machine: Machine
    quantity: str
    a: float | None
    b: float | None
    effect: float | None
    p: float


@frozen
class Regression:
    """``tables``: ``times``, ``exits`` and ``failures``. ``differs``: some quantity differs. ``few``: there are too few
    runs to tell. ``text`` says it for people."""

    tables: dict[str, Any]
    differs: bool
    few: bool
    text: str


def columns(unit: str) -> Columns:
    """The columns of a table whose values have this unit, those that differ first."""
    return (
        ("machine", "utf8", "", "spec and overrides"),
        ("quantity", "utf8", "text", "what was measured"),
        ("a", "float64", unit, "A's median; of failures the share of runs"),
        ("b", "float64", unit, "B's"),
        ("effect", "float64", "", "Cliff's delta, from -1 (all of B are smaller) to 1 (larger); null: of failures"),
        ("p", "float64", "", "p-value, corrected for the number of quantities (Holm)"),
        ("differs", "bool", "", "whether it is significant and large enough"),
    )


UNITS = {"failures": "share", "times": "ns", "exits": ""}


def schemas() -> dict[str, Any]:
    """The schemas of :class:`Regression`'s tables."""
    return {name: schema(columns(unit)) for name, unit in UNITS.items()}


def compare(a: Campaign, b: Campaign, alpha: float = 0.01, effect: float = 0.33, only: str = "*") -> Regression:
    """Compare the machines that both campaigns have. ``only``: a pattern of quantities (fnmatch). Raises TraceError if
    there is nothing to compare, or scipy is not installed."""
    both = [machine for machine in a.machines if machine in b.machines]
    if not both:
        raise TraceError(f"the campaigns have no machine in common: {named(a.machines)}; and {named(b.machines)}")
    found: dict[str, list[Tested]] = {name: [] for name in UNITS}
    for machine in both:
        for name, test in _tests(machine, a.machines[machine], b.machines[machine]):
            if fnmatchcase(test.quantity, only):
                found[name].append(test)
    if not any(found.values()):
        raise TraceError(f"--only: no quantity matches {only!r}")
    corrected = iter(holm([test.p for tests in found.values() for test in tests]))
    tables, changed, total = {}, 0, 0
    for name, tests in found.items():
        rows = []
        for test in tests:
            p = next(corrected)
            large = test.effect is None or abs(test.effect) >= effect
            rows.append((str(test.machine), *test[1:5], p, p <= alpha and large))
        rows.sort(key=lambda row: not row[-1])
        changed, total = changed + sum(row[-1] for row in rows), total + len(rows)
        tables[name] = table(columns(UNITS[name]), rows)
    runs = [min(len(side.machines[machine]) for machine in both) for side in (a, b)]
    text = f"{changed:,} of {total:,} quantities of {len(both):,} machine{'s' * (len(both) != 1)} differ"
    text += f"\nat least {runs[0]:,} runs of each machine in A, {runs[1]:,} in B"
    if few := min(runs) < FEW:
        text += f"; with fewer than {FEW}, hardly any difference can be shown"
    for side, other, name in ((a, b, "A"), (b, a, "B")):
        if alone := [machine for machine in side.machines if machine not in other.machines]:
            text += f"\nonly in {name}: {named(alone)}"
    return Regression(tables, changed > 0, few, text)


def _tests(machine: Machine, ours: Rows, theirs: Rows) -> Iterator[tuple[str, Tested]]:
    """The tests of a machine, each with the name of its table."""
    stats = _stats()
    failed = [sum(row["status"] != 0 for row in side) for side in (ours, theirs)]
    counts = [[count, len(side) - count] for count, side in zip(failed, (ours, theirs), strict=True)]
    shares = failed[0] / len(ours), failed[1] / len(theirs)
    yield "failures", Tested(machine, "failed runs", *shares, None, float(stats.fisher_exact(counts).pvalue))
    mine, other = measured(ours), measured(theirs)
    for name in mine:
        for quantity in dict.fromkeys((*mine[name], *other[name])):
            values, against = mine[name].get(quantity, []), other[name].get(quantity, [])
            if name == "exits" and quantity != "all":  # exits that one side never has
                values = values or [0.0] * len(mine[name]["all"])
                against = against or [0.0] * len(other[name]["all"])
            if values and against:
                tested = stats.mannwhitneyu(against, values)
                delta = 2 * float(tested.statistic) / (len(values) * len(against)) - 1
                medians = middle(values), middle(against)
                yield name, Tested(machine, quantity, *medians, delta, float(tested.pvalue))


def holm(ps: Sequence[float]) -> list[float]:
    """P-values corrected for their number, in the same order (Holm, 1979)."""
    corrected, least = [0.0] * len(ps), 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        least = max(least, min(1.0, ps[index] * (len(ps) - rank)))
        corrected[index] = least
    return corrected


def _stats() -> Any:
    try:
        from scipy import stats
    except ImportError:
        raise TraceError("comparing campaigns needs scipy: pip install 'vmrun[campaign]'") from None
    return stats
