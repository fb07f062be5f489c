"""Test cases that a guest reports on its console."""

from collections.abc import Iterable
from typing import Literal, NamedTuple, get_args

from runner.expect.unmet import many

# xfail: it failed, as its author expected (TODO, XFAIL).
Outcome = Literal["passed", "failed", "skipped", "xfail"]


class Case(NamedTuple):
    """A test case. ``suite`` are the names of the tests around it, the outermost first; ``detail`` is what the guest
    said of the outcome, ``log`` the comments that it printed before it, a line each. The guest chose all texts."""

    suite: tuple[str, ...]
    name: str
    outcome: Outcome
    detail: str = ""
    log: str = ""

    @property
    def path(self) -> str:
        """Its name after those around it."""
        return "/".join((*self.suite, self.name))


def counted(cases: Iterable[Case]) -> str:
    """How many cases there are of each outcome, in words."""
    outcomes = [case.outcome for case in cases]
    counts = ((outcome, outcomes.count(outcome)) for outcome in get_args(Outcome))
    kinds = ", ".join(f"{count:,} {outcome}" for outcome, count in counts if count)
    return f"{many(len(outcomes), 'test case')}: {kinds}"
