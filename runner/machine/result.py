"""How a run ended, and the exit status that follows."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, assert_never

from runner.expect.cases import Case
from runner.expect.unmet import Unmet
from vmspec.plan.settings import PlannedExpect
from vmspec.trace.ends import EndKind

# Exit statuses of vmrun.
OK, UNMET, WRONG, HOST, CRASHED, TIMED_OUT, UNRECORDED, INTERRUPTED = 0, 1, 2, 3, 4, 5, 6, 130


class Ending(NamedTuple):
    """What ended the guest: ``kind`` is one word, ``status`` that of a debug-exit, ``detail`` a sentence or more."""

    kind: EndKind
    status: int | None = None
    detail: str = ""


class Result(NamedTuple):
    """What :func:`runner.run` returns.

    ``kind`` is how the run ended, one of :data:`vmspec.trace.ends.KINDS`, and ``detail`` a sentence on it, or "".
    ``status`` is the exit status of ``vmrun``, from 0 to 255. ``console`` is the text that devices printed, the newest
    4 MiB; ``trace`` the trace file, None if nothing was recorded. ``counters`` are exits by reason name, with
    ``dropped``, those that were not recorded. ``seconds`` is the time from the first KVM_RUN until the last thread had
    ended. ``unmet`` are the expectations that failed, ``notes`` what else went wrong, one sentence each. ``report`` is
    the crash report's text, or "", and ``report_path`` where it was saved, or None. ``ports`` is what the guest wrote
    to each named port of its virtio consoles that does not print to "stdout", the newest 4 MiB of each. ``cases``
    are the test cases that it reported on the console, if the spec expects KTAP or TAP.
    """

    kind: EndKind
    status: int
    detail: str
    console: bytes
    trace: Path | None
    counters: dict[str, int]
    seconds: float
    unmet: tuple[Unmet, ...] = ()
    report: str = ""
    report_path: Path | None = None
    notes: tuple[str, ...] = ()
    ports: Mapping[str, bytes] = MappingProxyType({})
    cases: tuple[Case, ...] = ()


def status(expect: PlannedExpect, ending: Ending, failures: Sequence[Unmet]) -> int:
    """The exit status of a run that ended this way. Errors take precedence over expectations."""
    expected = ending.kind in expect.exit
    met = UNMET if failures else OK
    match ending.kind:
        case "trace-failed" | "console-failed" | "capture-failed":
            return UNRECORDED
        case "kvm-error" | "backend-lost":
            return HOST
        case "device-error":
            return WRONG
        case "interrupted" | "console-closed":
            return INTERRUPTED
        case "timeout" | "spun":
            return met if expected else TIMED_OUT
        case "triple-fault" | "guest-panic" | "internal-error" | "fail-entry" | "unexpected-exit":
            return met if expected else CRASHED
        case "debug-exit":
            chosen = ending.status if not failures and not expected and expect.status is None else None
            return met if chosen is None else chosen
        case "reset" | "poweroff" | "halt":
            return met
        case _:
            assert_never(ending.kind)
