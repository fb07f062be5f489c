"""The exit at which the runs of a case diverge, as lines of text, from their traces."""

import shlex
from collections.abc import Iterator, Sequence

from runner.workers.task import Outcome
from tracer import Trace, load
from tracer.analysis.parting import Parting, described, nearest, parting
from tracer.format.errors import TraceError

MOST = 100  # runs that a failed one is compared with


def lines(failures: Sequence[Outcome], passed: Sequence[Outcome]) -> tuple[str, ...]:
    """Where the first failed run diverges from the passed run with the longest common beginning; if none has passed,
    whether all failed runs have the same exits. Empty without two traces."""
    failed, good = _traces(failures), _traces(passed)
    try:
        if failed and good:
            return tuple(_flaky(load(failed[0]), [load(path) for path in good[:MOST]]))
        if len(failed) > 1:
            return tuple(_broken(load(failed[0]), [load(path) for path in failed[1:MOST]]))
    except TraceError as error:
        return (f"the traces cannot be compared: {error}",)
    return ()


def _flaky(failed: Trace, good: Sequence[Trace]) -> Iterator[str]:
    other, place = nearest(failed, good)
    if place is None:
        yield "a failed and a passed run have the same exits: only times differ, or what no exit has"
        return
    yield f"a failed run diverges from all that passed at {place.where}:"
    yield from _both(("failed", failed), ("passed", other), place)


def _broken(first: Trace, others: Sequence[Trace]) -> Iterator[str]:
    found = [(place, other) for other in others if (place := parting(first, other)) is not None]
    if not found:
        yield f"all {len(others) + 1} failed runs have the same exits"
        return
    place, other = min(found, key=lambda each: each[0].t)
    yield f"the failed runs first diverge at {place.where}:"
    yield from _both(("one", first), ("another", other), place)


def _both(ours: tuple[str, Trace], theirs: tuple[str, Trace], place: Parting) -> Iterator[str]:
    width = max(len(ours[0]), len(theirs[0])) + 1
    yield f"  {ours[0] + ':':{width}} {described(place.a)}"
    yield f"  {theirs[0] + ':':{width}} {described(place.b)}"
    yield f"to see it: {shlex.join(['vmtrace', 'diff', str(ours[1].path), str(theirs[1].path)])}"


def _traces(outcomes: Sequence[Outcome]) -> list[str]:
    return [str(outcome.result.trace) for outcome in outcomes if outcome.result is not None and outcome.result.trace]
