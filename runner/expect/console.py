"""Everything that a spec expects of the console, looked for while it is printed."""

from collections.abc import Callable

from runner.expect.cases import Case
from runner.expect.texts import Watch
from runner.expect.unmet import Unmet
from vmspec.plan.settings import PlannedExpect


class Expected:
    """Follows the console. What lines are needed for is imported only if the spec has it."""

    def __init__(self, expect: PlannedExpect) -> None:
        self._texts = Watch(expect.console, expect.absent)
        self._readers: list[Callable[[str], None]] = []  # of each line
        self._patterns = self._tap = None
        if expect.patterns or expect.forbidden:
            from runner.expect.patterns import Patterns

            self._patterns = Patterns(expect.patterns, expect.forbidden)
            self._readers.append(self._patterns.line)
        if expect.ktap or expect.tap:
            from runner.expect.tap import Tap

            self._tap = Tap(kernel=expect.ktap)
            self._readers.append(self._tap.line)

        if self._readers:
            from runner.expect.lines import Lines

            self._lines = Lines()

    def feed(self, data: bytes) -> None:
        """The next bytes that were printed."""
        self._texts.feed(data)
        if self._readers:
            for line in self._lines.feed(data):
                self._read(line)

    def _read(self, line: str) -> None:
        for reader in self._readers:
            reader(line)

    def end(self, console: bytes) -> tuple[list[Unmet], tuple[Case, ...]]:
        """What the console has not met, and the test cases on it, once the run has ended. ``console`` is the end of
        its text."""
        if self._readers:
            for line in self._lines.last():
                self._read(line)
        unmet = list(self._texts.unmet(console))
        if self._patterns is not None:
            unmet += self._patterns.unmet()
        if self._tap is None:
            return unmet, ()
        from runner.expect.tapcases import Report

        self._tap.end()
        report = Report(self._tap)
        return [*unmet, *report.unmet()], tuple(report.cases)
