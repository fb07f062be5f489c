"""Running a suite: every case as often as asked, several at once, each judged as soon as its last run has ended."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import NamedTuple

from runner.machine.result import HOST
from runner.suite import artefacts
from runner.suite.artefacts import Artefacts
from runner.suite.collect import Case
from runner.suite.verdict import Report, interrupted, passed
from runner.workers.pool import WorkerLostError
from runner.workers.schedule import Order, completed
from runner.workers.task import Outcome, Task, perform

TAIL = 16 << 10  # bytes of a console that a report has; the file beside the trace has all


class Options(NamedTuple):
    """How a suite is run. ``most`` runs at once with ``room`` vCPUs; ``timeout`` in ns, for specs without one; ``keep``
    the artefacts of passed cases too."""

    repeat: int = 1
    most: int = 1
    room: int = 1
    timeout: int | None = None
    record: bool = True
    keep: bool = False


class Suite:
    """The cases, and their runs as they come. ``started`` and ``ended`` are called with a case's name for each run."""

    def __init__(
        self,
        cases: Sequence[Case],
        folder: Artefacts,
        options: Options,
        started: Callable[[str], None] = lambda name: None,
        ended: Callable[[str], None] = lambda name: None,
    ) -> None:
        self.cases = cases
        self._folder, self._options = folder, options
        self._started, self._ended = started, ended
        self._places: dict[Case, Path] = {}
        self._outcomes: dict[Case, dict[int, Outcome]] = {case: {} for case in cases}

    def run(self, executor: Executor) -> Iterator[Report]:
        """Run all; yield each case once it has ended. Raises OSError if an artefact cannot be written."""
        yield from (Report(case) for case in self.cases if case.skip or case.broken)
        limits = self._options.most, self._options.room
        for (case, repetition), future in completed(executor, perform, self._orders(), *limits, started=self._begin):
            self._ended(case.name)
            outcome = _outcome(future)
            artefacts.save(self._trace(case, repetition), outcome)
            if outcome.result is not None:
                outcome = outcome._replace(result=outcome.result._replace(console=outcome.result.console[-TAIL:]))
            outcomes = self._outcomes[case]
            outcomes[repetition] = outcome
            if len(outcomes) == self._options.repeat and not any(map(interrupted, outcomes.values())):
                yield self._report(case, [outcome for _, outcome in sorted(outcomes.items())])

    def _orders(self) -> Iterator[Order[tuple[Case, int]]]:
        options = self._options
        for case in self.cases:
            if case.skip or case.broken:
                continue
            self._places[case] = self._folder.place(case)
            for repetition in range(options.repeat):
                trace = self._trace(case, repetition)
                task = Task(case.spec, case.overrides, trace if options.record else None, options.timeout)
                yield Order((case, repetition), (task,), case.demand)

    def _begin(self, key: tuple[Case, int]) -> None:
        self._trace(*key).parent.mkdir(parents=True)
        self._started(key[0].name)

    def _trace(self, case: Case, repetition: int) -> Path:
        place = self._places[case]
        return (place / str(repetition + 1) if self._options.repeat > 1 else place) / artefacts.TRACE

    def _report(self, case: Case, outcomes: Sequence[Outcome]) -> Report:
        place = self._places[case]
        report = Report(case, tuple(outcomes), folder=place)
        if report.verdict == "passed" and not self._options.keep:
            shutil.rmtree(place)
            return report._replace(folder=None)
        if len(outcomes) > 1 and report.failures:
            good = [outcome for outcome in outcomes if passed(outcome, case)]
            from runner.suite import parting  # late: reading traces takes pyarrow

            return report._replace(parting=parting.lines(report.failures, good))
        return report


def _outcome(future: "Future[Outcome]") -> Outcome:
    """What came of a run; a worker that died is what came of it too."""
    try:
        return future.result()
    except WorkerLostError as error:
        return Outcome(HOST, None, f"the run was lost: {error}", 0.0, 0.0)
    except Exception as error:
        return Outcome(HOST, None, f"vmrun failed: {error!r}", 0.0, 0.0)
