"""The summary of a suite: its counts, the closing lines and the exit status."""

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import get_args

from runner.machine.result import INTERRUPTED, OK, UNMET, WRONG
from runner.suite.collect import Case
from runner.suite.verdict import GOOD, Report, Verdict
from vmspec.host.printable import printable

CONSOLE_LINES = 10  # the newest ones of a failed run that are printed


class Tally:
    """The reports so far. ``began`` is in seconds since the epoch."""

    def __init__(self, cases: Sequence[Case], began: float) -> None:
        self.cases, self.began = cases, began
        self.seconds = 0.0  # that all of it took, once it has ended
        self.reports: list[Report] = []
        self.interrupted = False

    def add(self, report: Report) -> None:
        """A case has ended."""
        self.reports.append(report)

    @property
    def bad(self) -> list[Report]:
        """The cases that neither passed nor were skipped."""
        return [report for report in self.reports if report.verdict not in GOOD]

    @property
    def status(self) -> int:
        """The exit status."""
        if self.interrupted:
            return INTERRUPTED
        if any(report.case.broken for report in self.reports):
            return WRONG
        return UNMET if self.bad else OK

    def failed(self, before: Iterable[str]) -> list[str]:
        """The names of the cases that failed when they were run last, ``before`` this suite or in it."""
        ended = {report.case.name for report in self.reports}
        return [*(name for name in before if name not in ended), *(report.case.name for report in self.bad)]

    def lines(self) -> Iterator[str]:
        """The closing lines: each case that failed, then the counts."""
        for report in self.bad:
            yield ""
            yield f"{printable(report.case.name)}: {report.headline}"
            yield from (f"  {line}" for line in _details(report))
        yield ""
        yield f"{self.counts} in {self.seconds:.2f} s"

    @property
    def counts(self) -> str:
        """How many cases ended how."""
        counts = Counter(report.verdict for report in self.reports)
        said = [f"{counts[verdict]} {verdict}" for verdict in get_args(Verdict) if counts[verdict]]
        if left := len(self.cases) - len(self.reports):
            said.append(f"{left} not finished")
        return ", ".join(said)


def _details(report: Report) -> Iterator[str]:
    first = report.failures[0] if report.failures else None
    if first is not None and first.result is not None:
        for failure in first.result.unmet:
            if failure.look:
                yield f"to see it: {failure.look}"
        for line in first.result.report.splitlines()[:1]:
            yield f"crash report: {printable(line)}"
        text = first.result.console.decode("utf-8", "replace").rstrip().splitlines()[-CONSOLE_LINES:]
        if text:
            yield "console, the last lines:"
            yield from (f"  {printable(line.expandtabs())}" for line in text)
    if report.folder is not None:
        yield f"its files: {printable(report.folder)}"
    yield f"again: {printable(command(report.case))}"


def command(case: Case) -> str:
    """The command that runs a case by itself."""
    sets = [word for override in case.overrides for word in ("--set", override)]
    return shlex.join(["vmrun", str(case.spec), *sets])
