"""How many exits a run may have, compared with what the vCPUs counted."""

from collections.abc import Iterable, Iterator, Mapping

from runner.expect.unmet import Unmet, many
from vmspec.plan.settings import PlannedLimit

LOOK = "vmtrace summary"


def unmet(limits: Iterable[PlannedLimit], counters: Mapping[str, int]) -> Iterator[Unmet]:
    """The limits of all exits and of exits by reason that are exceeded. ``counters`` are exits by reason."""
    for limit in limits:
        match limit.what:
            case "exits":
                came = sum(count for reason, count in counters.items() if reason != "dropped")
                noun = "exit"
            case "reason":
                came, noun = counters.get(limit.name, 0), f"{limit.name} exit"
            case _:
                continue
        if came > limit.most:
            yield Unmet(limit.key, f"at most {many(limit.most, noun)}", f"{came:,} came", LOOK)
