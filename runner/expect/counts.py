"""How many exits a run may have, compared with what the vCPUs counted."""

from collections.abc import Iterable, Iterator, Mapping

from runner.expect.unmet import Unmet
from vmspec.plan.settings import PlannedLimit

LOOK = "vmtrace summary"


def unmet(limits: Iterable[PlannedLimit], counters: Mapping[str, int]) -> Iterator[Unmet]:
    """The limits of all exits and of exits by reason that are exceeded. ``counters`` are exits by reason."""
    for limit in limits:
        match limit.what:
            case "exits":
                came = sum(count for reason, count in counters.items() if reason != "dropped")
                of = ""
            case "reason":
                came, of = counters.get(limit.name, 0), f" {limit.name}"
            case _:
                continue
        if came > limit.most:
            yield Unmet(limit.key, f"at most {limit.most:,}{of} exits", f"{came:,} came", LOOK)
