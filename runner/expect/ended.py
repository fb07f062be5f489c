"""What a run has not met once the guest has ended, beside the console: imported at the end, so that no start waits for
it."""

from collections.abc import Iterator, Mapping

from runner.expect import ending
from runner.expect.unmet import Unmet
from vmspec.plan.settings import PlannedExpect
from vmspec.trace.ends import EndKind


def unmet(
    expect: PlannedExpect, kind: EndKind, status: int | None, ports: Mapping[str, bytes], counters: Mapping[str, int]
) -> Iterator[Unmet]:
    """The expectations of the end, of ports and of numbers of exits. ``status`` is that of a debug-exit, ``ports`` is
    what the guest wrote to each named port, ``counters`` are exits by reason."""
    yield from ending.unmet(expect, kind, status)
    if expect.ports:
        from runner.expect import ports as verdicts

        yield from verdicts.unmet(expect.ports, ports)
    if expect.limits:
        from runner.expect import counts

        yield from counts.unmet(expect.limits, counters)
