"""Specs as pytest's items: a file is a spec, an item the spec or one combination of its matrix."""

import fcntl
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from runner.suite.collect import TABLES, Case, of
from runner.suite.verdict import interrupted, passed, reasons
from runner.workers.task import Outcome, Task, perform
from vmspec.document import Document
from vmspec.schema.problems import SpecError

TIMEOUT = 60 * 10**9  # ns, of specs without vm.timeout, as vmrun test has it
FOLDER = "vmrun"  # of pytest's cache, for traces


class SpecFailedError(Exception):
    """A spec did not pass; the message has the reasons."""


class SpecFile(pytest.File):
    """A TOML file. One that is not a spec has no items."""

    def collect(self) -> Iterator[pytest.Item]:
        """The items of the spec."""
        try:
            document = Document.open(self.path)
        except SpecError as error:
            raise self.CollectError(str(error)) from None
        if TABLES & document.data.keys() or self.session.isinitpath(self.path):
            for case in of(document, self.path.stem):
                yield SpecItem.from_parent(self, name=case.name, case=case)


class SpecItem(pytest.Item):
    """A run of a spec, in pytest's process."""

    def __init__(self, *, case: Case, **rest: Any) -> None:
        super().__init__(**rest)
        self.case = case

    def runtest(self) -> None:
        """Run it. Raises SpecFailedError."""
        case = self.case
        if case.skip:
            pytest.skip(case.skip)
        if case.broken:
            raise SpecFailedError(case.broken)
        with alone(case):
            outcome = perform(Task(case.spec, case.overrides, self._trace(), TIMEOUT))
        if interrupted(outcome):
            raise KeyboardInterrupt
        self._show(outcome)
        if not passed(outcome, case):
            raise SpecFailedError("\n".join(reasons(outcome, case)))

    def _trace(self) -> Path | None:
        """Where to record, in the cache; None without a cache."""
        cache = getattr(self.config, "cache", None)
        if cache is None:
            return None
        folder: Path = cache.mkdir(FOLDER)
        return folder / f"{re.sub(r'[^A-Za-z0-9_.,=+-]+', '-', self.nodeid)[-150:]}.arrow"

    def _show(self, outcome: Outcome) -> None:
        if outcome.result is None:
            return
        if outcome.result.console:
            self.add_report_section("call", "console", outcome.result.console.decode("utf-8", "replace"))
        looks = [f"to see it: {failure.look}" for failure in outcome.result.unmet if failure.look]
        if outcome.result.trace is not None:
            looks.append(f"the trace: {outcome.result.trace}")
        if outcome.result.report:
            self.add_report_section("call", "crash report", outcome.result.report)
        self.add_report_section("call", "vmrun", "\n".join(looks))

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        """The reasons, without a traceback of vmrun's code."""
        if isinstance(excinfo.value, SpecFailedError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Where pytest says that the item is."""
        return self.path, None, self.name


@contextmanager
def alone(case: Case) -> Iterator[None]:
    """Hold the spec, if its runs write to a file: pytest-xdist may run two combinations of it at the same time."""
    with case.spec.open() as file:
        if case.demand.writes:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
