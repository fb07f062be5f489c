"""One run as a worker takes it, and what comes of it. Both are pickled."""

import time
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from runner.machine.result import HOST, INTERRUPTED, Result
from runner.session.failures import RAISED, exit_status
from runner.session.session import run
from vmspec.document import Document
from vmspec.plan.plan import Plan

PLANS = 64  # plans that a worker keeps: repetitions of a run come one after another


class Task(NamedTuple):
    """A run of a spec's file with overrides, or of a plan, recorded into ``trace``; None: not recorded. ``timeout`` is
    in ns, for a spec without one."""

    spec: Path | Plan
    overrides: tuple[str, ...]
    trace: Path | None
    timeout: int | None = None


class Outcome(NamedTuple):
    """What came of a run: the ``status`` that vmrun would end with, and the ``result``; ``error`` if there is none.
    ``started`` is in seconds since the epoch, ``seconds`` the time for all of it, start and end too. ``notices`` are
    messages for the user."""

    status: int
    result: Result | None
    error: str
    started: float
    seconds: float
    notices: tuple[str, ...] = ()


def perform(task: Task) -> Outcome:
    """Run it, in the calling process. No error of a run is raised here; a bug is."""
    started, begin = time.time(), time.monotonic()
    result, error, notices = None, "", list[str]()
    try:
        result = run(_arranged(task), record=task.trace is not None, notice=notices.append)
        status = result.status
    except KeyboardInterrupt:
        status, error = INTERRUPTED, "interrupted before the guest ran"
    except RAISED as failure:
        status, error = exit_status(failure), str(failure)
    except OSError as failure:
        status, error = HOST, f"{failure.filename or 'the host'}: {failure.strerror or failure}"
    return Outcome(status, result, error, started, time.monotonic() - begin, tuple(notices))


def _arranged(task: Task) -> Plan:
    """The plan of a task. Raises SpecError."""
    plan = task.spec if isinstance(task.spec, Plan) else _plan(task.spec, task.overrides)
    if plan.vm.timeout is None:
        plan = plan._replace(vm=plan.vm._replace(timeout=task.timeout))
    return plan if task.trace is None else plan.recorded(task.trace)


@lru_cache(PLANS)
def _plan(spec: Path, overrides: tuple[str, ...]) -> Plan:
    """The plan of a spec. A run of it fails once an image has changed since."""
    return Document.open(spec, overrides).plan()
