"""Running a spec in another thread: a handle of the run."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from runner.machine.result import Result
from runner.session.session import Session
from vmspec.host.threads import Worker
from vmspec.plan.plan import Plan

if TYPE_CHECKING:
    from runner.devices.virtio.balloon import Balloon
    from vmspec.spec.models import Spec


def start(
    spec: "Spec | Plan | Path | str",
    *,
    overrides: Sequence[str] | str = (),
    record: bool = True,
    input: int | None = None,
    output: int | None = None,
    notice: Callable[[str], None] = lambda text: None,
    locked: bool = False,
    unlocked: bool = False,
    images: Sequence[Path | str] = (),
    control: bool | str = False,
    gdb: str | tuple[int, int] | None = None,
    restore: bool = False,
) -> "Run":
    """Run a spec in a thread of its own; return once the guest runs. It takes the arguments of :func:`runner.run`, and
    raises the errors that come before the guest runs.

    No signal ends such a run: Ctrl-C raises KeyboardInterrupt in the caller. If that happens in this function, the run
    is ended first.
    """
    session = Session.of(
        spec, overrides, record, input, output, notice, locked, unlocked, images, control, gdb, restore
    )
    run = Run(session)
    run._start()
    return run


class Run:
    """A run in another thread, made by :func:`start`. Any thread may call its methods. As a context manager it stops
    the run at the end of the block, and waits for it."""

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
        self._session.begun.set()  # otherwise it never will begin

    def stop(self) -> None:
        """End the run as Ctrl-C ends one of the command: its result is "interrupted". Does nothing if the guest has
        ended."""
        self._session.stop()

    def pause(self, timeout: float = 10.0) -> bool:
        """Pause the guest until :meth:`resume` or the end of the run. Returns True once it has stopped, False if the
        run has ended. In a pause the guest's clocks stop, its input waits, and the time does not count towards
        ``vm.timeout``; the trace accounts for it as paused.

        Raises TimeoutError if a device call does not return within ``timeout`` seconds; the guest then continues. See
        :meth:`runner.machine.machine.Machine.pause`.
        """
        return self._session.machine.pause(timeout)

    def resume(self) -> bool:
        """Resume the guest after :meth:`pause`; does nothing if it runs. Returns False if the run has ended."""
        return self._session.machine.resume()

    def power_button(self) -> bool:
        """Press the machine's power button, so that the guest powers off in order if it likes: Linux tells its acpid or
        systemd-logind. Returns False if the run has ended. Raises ``runner.machine.lifecycle.LifecycleError`` if the
        spec has no device ``acpi``."""
        return self._session.machine.commands.power_button()

    def line_break(self, device: str = "") -> bool:
        """Send a break to a serial port, by default the first. Returns False if the run has ended. Raises
        ``runner.machine.lifecycle.LifecycleError`` if the spec has no such device."""
        return self._session.machine.commands.line_break(device)

    def sysrq(self, key: str, device: str = "") -> bool:
        """Press a magic SysRq key, such as ``"t"``, by a serial port or a virtio console that is the guest's console;
        by default by the first serial port. Returns False if the run has ended. Raises ValueError if ``key`` is none,
        ``runner.machine.lifecycle.LifecycleError`` if the spec has no such device."""
        return self._session.machine.commands.sysrq(key, device)

    def set_balloon(self, size: int) -> bool:
        """Ask the guest to return so much memory in all, in bytes, by its virtio balloon. Returns False if the run has
        ended. Raises ValueError if the machine has less memory, ``runner.machine.lifecycle.LifecycleError`` if the spec
        has no device ``virtio-balloon``."""
        return self._session.machine.commands.set_balloon(size)

    def balloon(self) -> "Balloon":
        """The balloon's ``target`` and ``actual`` size in bytes, and the guest's newest ``statistics`` by name. The
        guest is asked for newer ones, which a later call returns. Raises as :meth:`set_balloon` does."""
        return self._session.machine.commands.balloon()

    def snapshot(self, path: Path | str, base: Path | str | None = None) -> bool:
        """Write the machine's state into a file, from which :func:`start` goes on with ``restore``. The guest stands
        still meanwhile. With ``base``, another snapshot, it has only what differs from that, and needs it later.
        Returns False if the run has ended. Raises ``runner.SnapshotError``, OSError,
        ``runner.KvmError``, and TimeoutError as :meth:`pause` does."""
        from runner.snapshot.taking import based, take  # late: few runs are saved

        machine, to = self._session.machine, Path(path)
        with based(to, None if base is None else Path(base), machine) as chain, machine.standing() as stands:
            if stands:
                take(machine, to, chain)
            return stands

    @property
    def paused(self) -> bool:
        """Whether the guest is paused."""
        return self._session.machine.paused

    def result(self, timeout: float | None = None) -> Result:
        """Wait for the end of the run, at most ``timeout`` seconds. Return what :func:`runner.run` returns, or raise
        what it raises. Raises TimeoutError if the run has not ended; the run continues."""
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
