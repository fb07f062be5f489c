"""How a run ended, and what that means for the exit status."""

from pathlib import Path
from typing import NamedTuple

from vmspec.plan.settings import PlannedExpect
from vmspec.trace.ends import CRASHES

# Exit statuses of vmrun.
OK, UNMET, WRONG, HOST, CRASHED, TIMED_OUT, UNRECORDED, INTERRUPTED = 0, 1, 2, 3, 4, 5, 6, 130


class Ending(NamedTuple):
    """What ended the guest: ``kind`` is one word, ``status`` a debug-exit's own, ``detail`` a sentence or more."""

    kind: str
    status: int | None = None
    detail: str = ""


class Result(NamedTuple):
    """What :func:`runner.run` returns.

    ``kind`` is how the guest ended (reset, poweroff, halt, debug-exit, triple-fault, guest-panic (it says so itself),
    internal-error, fail-entry, unexpected-exit, kvm-error, device-error, timeout, interrupted, console-closed (its
    reader has gone), console-failed (it cannot be written), trace-failed); ``status`` the exit status of ``vmrun``;
    ``console`` the text that devices printed (the newest 4 MiB); ``trace`` the trace file, where one was written;
    ``counters`` exits by reason name, with ``dropped``; ``unmet`` the expectations that failed; ``seconds`` the time
    from the first KVM_RUN until the last thread had ended; ``report`` the crash report's text and ``report_path`` where
    it was saved.
    """

    kind: str
    status: int
    detail: str
    console: bytes
    trace: Path | None
    counters: dict[str, int]
    seconds: float
    unmet: tuple[str, ...] = ()
    report: str = ""
    report_path: Path | None = None
    notes: tuple[str, ...] = ()


def unmet(expect: PlannedExpect, ending: Ending, missing: list[str], unwanted: list[str]) -> tuple[str, ...]:
    """The expectations that this end does not meet, each as a sentence."""
    failures = [f"the console never showed {text!r}" for text in missing]
    failures += [f"the console showed {text!r}" for text in unwanted]
    if expect.exit and ending.kind not in expect.exit:
        failures.append(f"the guest ended with {ending.kind}, not with {' or '.join(expect.exit)}")
    if expect.status is not None and ending.status != expect.status:
        failures.append(f"the debug-exit status is {ending.status}, not {expect.status}")
    return tuple(failures)


def status(expect: PlannedExpect, ending: Ending, failures: tuple[str, ...]) -> int:
    """The exit status of a run that ended this way. What went wrong comes before what was expected."""
    expected = ending.kind in expect.exit
    match ending.kind:
        case "trace-failed" | "console-failed":
            return UNRECORDED
        case "kvm-error":
            return HOST
        case "device-error":
            return WRONG
        case "interrupted" | "console-closed":
            return INTERRUPTED
        case "timeout" if not expected:
            return TIMED_OUT
        case kind if kind in CRASHES and not expected:
            return CRASHED
        case "debug-exit" if not failures and not expected and expect.status is None:
            return OK if ending.status is None else ending.status
    return UNMET if failures else OK
