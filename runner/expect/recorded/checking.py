"""All expectations that are checked in the finished trace."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from runner.expect.recorded import accesses, budgets, reference, requests
from runner.expect.unmet import Unmet
from tracer.format.errors import TraceError
from tracer.read.reader import load
from vmspec.plan.settings import PlannedExpect


def unmet(expect: PlannedExpect, path: Path, reported: Sequence[str]) -> Iterator[Unmet]:
    """What the run of a trace does not meet; ``reported`` are the problems that its devices reported."""
    try:
        trace = load(path)
        yield from budgets.unmet(expect.limits, trace)
        if expect.unclaimed == "none":
            yield from accesses.unmet(expect.allow, trace)
        if expect.errors == "none":
            yield from requests.unmet(trace, reported)
        if expect.reference is not None:
            yield from reference.unmet(expect.reference, expect.differ, trace)
    except TraceError as error:
        yield Unmet("trace.path", "a trace that can be checked", str(error), "vmtrace info")
