"""Running a spec beside the caller: a handle of a run that another thread makes."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from runner.machine.result import Result
from runner.session.session import Session
from vmspec.host.threads import Worker
from vmspec.plan.plan import Plan

if TYPE_CHECKING:
    from vmspec.spec.models import Spec


def start(
    spec: "Spec | Plan | Path | str",
    *,
    overrides: Sequence[str] | str = (),
    record: bool = True,
    input: int | None = None,
    output: int | None = None,
    notice: Callable[[str], None] = lambda text: None,
) -> "Run":
    """Run a spec in a thread of its own; returns once the guest runs. Takes what :func:`runner.run` does, and raises
    what that raises before the guest runs.

    No signal ends such a run: Ctrl-C raises KeyboardInterrupt where the caller is, out of this function too, which has
    then ended the run.
    """
    run = Run(Session.of(spec, overrides, record, input, output, notice))
    run._start()
    return run


class Run:
    """A run beside the caller, made by :func:`start`; all of it may be called by any thread. As a context manager it
    stops the run at the end of the block, and waits for it."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._thread = Worker("run", self._work)
        self._result: Result | None = None
        self._error: BaseException | None = None

    def _start(self) -> None:
        try:
            self._thread.start()
            self._session.begun.wait()
        except BaseException:
            self.stop()
            self._thread.wait()
            raise
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        try:
            self._result = self._session.run()
        except BaseException as error:
            self._error = error
        self._session.begun.set()  # or it never will begin

    def stop(self) -> None:
        """End the run as Ctrl-C ends one of the command: its result is "interrupted". Where the guest has ended by
        then, nothing happens."""
        self._session.stop()

    def result(self, timeout: float | None = None) -> Result:
        """Wait for the end of the run, at most ``timeout`` seconds, and return what :func:`runner.run` does, or raise
        what that raises. Raises TimeoutError where the run has not ended by then; it goes on."""
        if not self._thread.wait(timeout):
            raise TimeoutError("the run has not ended")
        if self._error is not None:
            raise self._error
        assert self._result is not None
        return self._result

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._thread.wait()
