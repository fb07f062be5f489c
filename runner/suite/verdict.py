"""The verdict on a case, from all of its runs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from runner.machine.result import INTERRUPTED
from runner.suite.collect import Case
from runner.workers.task import Outcome

Verdict = Literal["passed", "failed", "flaky", "error", "skipped"]
GOOD: tuple[Verdict, ...] = ("passed", "skipped")


class Report(NamedTuple):
    """A case with its runs. ``parting`` says where runs part, in lines. ``folder`` has what the runs left, None if
    nothing is kept."""

    case: Case
    outcomes: tuple[Outcome, ...] = ()
    parting: tuple[str, ...] = ()
    folder: Path | None = None

    @property
    def verdict(self) -> Verdict:
        """skipped; error: it could not be run; passed, failed: all runs did; flaky: some passed."""
        if self.case.skip:
            return "skipped"
        good = sum(passed(outcome, self.case) for outcome in self.outcomes)
        if self.case.broken or (not good and any(outcome.result is None for outcome in self.outcomes)):
            return "error"
        if good == len(self.outcomes):
            return "passed"
        return "flaky" if good else "failed"

    @property
    def failures(self) -> tuple[Outcome, ...]:
        """The runs that did not pass."""
        return tuple(outcome for outcome in self.outcomes if not passed(outcome, self.case))

    @property
    def seconds(self) -> float:
        """The time that its runs took."""
        return sum(outcome.seconds for outcome in self.outcomes)

    @property
    def headline(self) -> str:
        """How many runs failed, if there were several."""
        if len(self.outcomes) < 2:
            return self.verdict
        return f"{self.verdict}, {len(self.failures)} of {len(self.outcomes)} runs failed"


def passed(outcome: Outcome, case: Case) -> bool:
    """Whether a run did what its case requires."""
    return outcome.result is not None and outcome.status == case.status


def interrupted(outcome: Outcome) -> bool:
    """Whether the user has ended it, so that it tells nothing of the case."""
    return outcome.status == INTERRUPTED and (outcome.result is None or outcome.result.kind == "interrupted")


def reasons(outcome: Outcome, case: Case) -> Iterator[str]:
    """Why a run did not pass, a sentence each."""
    result = outcome.result
    if result is None:
        yield from outcome.error.splitlines()
        return
    for failure in result.unmet:
        yield f"expectation failed: {failure}"
    if not result.unmet or outcome.status not in (0, 1):
        wanted = f", not {case.status} (test.status)" if case.status else ""
        detail = f": {result.detail}" if result.detail else ""
        yield f"it ended with {result.kind}, exit status {outcome.status}{wanted}{detail}"
