"""How a run ended, compared with ``exit`` and ``status``."""

from collections.abc import Iterator

from runner.expect.unmet import Unmet
from vmspec.plan.settings import PlannedExpect
from vmspec.trace.ends import EndKind

LOOK = "vmtrace events --last 10"


def unmet(expect: PlannedExpect, kind: EndKind, status: int | None) -> Iterator[Unmet]:
    """What a run that ended so does not meet; ``status`` is that of a debug-exit."""
    if expect.exit and kind not in expect.exit:
        yield Unmet("expect.exit", f"the end {' or '.join(expect.exit)}", f"the guest ended with {kind}", LOOK)
    if expect.status is not None and status != expect.status:
        came = f"the guest ended with {kind}" if status is None else f"it is {status}"
        yield Unmet("expect.status", f"the debug-exit status {expect.status}", came, LOOK)
