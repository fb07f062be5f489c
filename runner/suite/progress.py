"""Progress of a suite: a line for each case, and on a terminal a bar below them with what runs."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from runner.suite.verdict import GOOD, Report, reasons
from vmspec.host.printable import printable

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

VERDICT = 8  # columns of a verdict


def lines(report: Report) -> Iterator[str]:
    """What is printed of a case as soon as it has ended."""
    case = report.case
    if report.verdict == "skipped":
        yield f"{'skipped':{VERDICT}} {printable(case.name)}: {printable(case.skip)}"
        return
    time = f"{report.seconds / max(len(report.outcomes), 1):.2f} s" if report.outcomes else ""
    runs = f" ({report.headline.partition(', ')[2]})" if len(report.outcomes) > 1 and report.failures else ""
    yield f"{report.verdict:{VERDICT}} {printable(case.name)} {time}{runs}".rstrip()
    if report.verdict in GOOD:
        return
    for line in dict.fromkeys(case.broken.splitlines()):
        yield f"{'':{VERDICT}}   {printable(line)}"
    said = dict.fromkeys(reason for outcome in report.failures for reason in reasons(outcome, case))
    for line in said:
        yield f"{'':{VERDICT}}   {printable(line)}"
    for line in report.parting:
        yield f"{'':{VERDICT}}   {printable(line)}"


class Plain:
    """Lines only, for a pipe or a file."""

    def started(self, name: str) -> None:
        """A run of a case has begun."""

    def ended(self, name: str) -> None:
        """A run of a case has ended."""

    def report(self, report: Report) -> None:
        """A case has ended."""
        for line in lines(report):
            print(line, flush=True)


class Live(Plain):
    """The same above a bar."""

    def __init__(self, bar: "Progress", task: "TaskID") -> None:
        self._bar, self._task = bar, task
        self._running: dict[str, int] = {}

    def started(self, name: str) -> None:
        self._running[name] = self._running.get(name, 0) + 1
        self._show()

    def ended(self, name: str) -> None:
        self._running[name] -= 1
        if not self._running[name]:
            del self._running[name]
        self._bar.advance(self._task)
        self._show()

    def report(self, report: Report) -> None:
        for line in lines(report):
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _show(self) -> None:
        self._bar.update(self._task, description=printable(", ".join(self._running)))


@contextmanager
def shown(runs: int) -> Iterator[Plain]:
    """The progress of a suite with so many runs, on standard output."""
    if not sys.stdout.isatty():
        yield Plain()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    what = TextColumn("{task.description}", markup=False)
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), what)
    with Progress(*columns, console=Console(file=sys.stdout), transient=True) as bar:
        yield Live(bar, bar.add_task("", total=runs))
