"""Running a spec: connects the plan, the machine, the console and the recording."""

import math
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from runner import signals
from runner.devices import Board, DeviceError, make
from runner.expect.console import Expected
from runner.kvm.errors import HostError
from runner.machine.files import Files
from runner.machine.loading import Loader
from runner.machine.result import Ending, Result
from runner.session.backends import Backends
from runner.session.console import Console, ConsoleClosed, console_ending
from runner.session.given import Given
from tracer.format.errors import TraceError
from vmspec.host.threads import ThreadError
from vmspec.plan.plan import Plan
from vmspec.schema.problems import Problem, SpecError

if TYPE_CHECKING:
    from runner.machine.machine import Machine
    from runner.session.clients import Clients
    from runner.session.ends import Ends
    from runner.session.recording import Recording
    from vmspec.spec.models import Spec

SWITCH_INTERVAL = 0.0002  # seconds that a Python thread keeps the interpreter while another waits for it

REPORTS = 100  # of devices, at most

# Runs whose threads never returned: the threads still use everything, so it is never freed.
STUCK: list[tuple["Session", ExitStack]] = []


def run(
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
) -> Result:
    """Run a spec to the guest's end, and return the result. ``spec`` is a spec, the path of a spec file, of a bundle
    or of a trace (with ``--set`` style ``overrides``, one or several), or a plan from any source.

    ``input`` and ``output`` are the descriptors that stand for the spec's "stdin" and "stdout"; None: the guest gets no
    input, its text is only in the result. A terminal as input is made raw for the run. ``record`` False: no trace,
    whatever the spec says. ``notice`` is called with messages for the user while the guest runs. ``locked``: run only
    what the lock beside the spec's file says, as with ``lock.require`` in the spec and with a bundle. ``unlocked``: run
    it even so, and tell ``notice`` what differs. ``images``: the folders with the images of a trace's run, which are
    found by their hashes. ``control``: the name by which :func:`runner.connect` and commands such as ``vmrun pause``
    reach the machine while it runs; True: the spec's vm.name, or one like it that is free. ``gdb``: the machine waits
    for gdb before its first instruction, at an address such as "127.0.0.1:1234" or "unix:/tmp/gdb.sock"; two
    descriptors, to read and to write, are gdb's own connection, and the run ends with it. ``restore``: ``spec`` is the
    file of a snapshot (``vmrun snapshot``), from which the machine goes on; ``overrides`` may then change only a few
    keys (docs/snapshots.md), and no trace is recorded unless they name one. :func:`runner.start` runs a
    spec in another thread, so that the caller can stop it.

    Ctrl-C in the main thread raises KeyboardInterrupt before the guest runs, if it would do so without vmrun. While the
    guest runs, it ends the run with the result "interrupted". Once the guest has ended, it changes nothing.

    Raises ``vmspec.SpecError`` (the spec cannot be used, or the run is not what was locked), ``runner.HostError`` and
    ``runner.KvmError`` (the host cannot run it, the name for ``control`` is in use, or nothing can listen at the
    address for ``gdb``), ValueError (``gdb`` is no address), ``runner.SnapshotError`` (a snapshot cannot be restored),
    ``runner.DeviceError`` (a device of the spec cannot be made) and ``tracer.TraceError`` (the trace cannot be begun).
    The result has everything that happens once the guest runs.
    """
    session = Session.of(
        spec, overrides, record, input, output, notice, locked, unlocked, images, control, gdb, restore
    )
    return session.run()


class Session:
    """One run: what it opens, and how that is closed."""

    def __init__(
        self,
        given: Given,
        input: int | None,
        output: int | None,
        notice: Callable[[str], None],
        locked: bool = False,
        unlocked: bool = False,
        control: bool | str = False,
        gdb: str | tuple[int, int] | None = None,
    ) -> None:
        self.plan = plan = given.plan
        self._lock = given.lock
        self._locked = locked or plan.lock.require or given.lock is not None
        self._unlocked = unlocked or (given.lenient and not locked)
        self._keep, self._release = given.keep, given.release
        self._restoring = given.restoring
        self._control = control
        self._gdb = gdb
        self.begun = threading.Event()  # the guest runs
        # A context in which the guest runs; at its end, the machine is as the guest has left it.
        self.around: Callable[[Machine], AbstractContextManager[None]] = lambda machine: nullcontext()
        self.input, self.output, self.notice = input, output, notice
        self.reported: list[str] = []  # problems of devices
        self._reporting = threading.Lock()
        self.machine: Machine
        self.recording: Recording
        self.backends: Backends
        self.ends: Ends
        self.clients: Clients
        self._expected = Expected(plan.expect)
        self.console = Console(self._expected.feed, self._console_failed)
        self.files = Files(plan.names, appends=given.restoring is not None)
        self._stopped = False

    @classmethod
    def of(
        cls,
        spec: "Spec | Plan | Path | str",
        overrides: Sequence[str] | str,
        record: bool,
        input: int | None,
        output: int | None,
        notice: Callable[[str], None],
        locked: bool,
        unlocked: bool,
        images: Sequence[Path | str],
        control: bool | str,
        gdb: str | tuple[int, int] | None,
        restore: bool,
    ) -> Self:
        """The session of a run with the arguments of :func:`run`. Raises SpecError."""
        if restore:
            if not isinstance(spec, str | os.PathLike):
                raise TypeError("a snapshot is a file: give its path")
            given = Given.restored(Path(spec), overrides)
        else:
            given = Given.of(spec, overrides, images, notice)
        if not record:
            given = given._replace(plan=given.plan.unrecorded())
        plan = given.plan
        if plan.trace.path is None and (keys := plan.expect.of_trace()):
            given.release()
            message = "is checked in the trace, and this run records none: give trace.path, or vmrun --trace FILE"
            raise SpecError(tuple(Problem(key, message, file=plan.path) for key in keys))
        return cls(given, input, output, notice, locked, unlocked, control, gdb)

    def run(self) -> Result:
        """Open everything, run the guest, close everything."""
        stack = ExitStack()
        stack.callback(self._release)
        # A vCPU that needs Python must not wait the usual 5 ms for other threads.
        interval = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_INTERVAL)
        try:
            with signals.watched():
                return self._run(stack)
        except ThreadError as error:
            if hasattr(self, "recording"):
                self.recording.discard()
            raise HostError(f"the host cannot run it: {error.strerror}") from error
        finally:
            sys.setswitchinterval(interval)
            if hasattr(self, "machine") and (self.machine.alive() or self._is_used()):
                STUCK.append((self, stack))
            else:
                stack.close()

    def _is_used(self) -> bool:
        """Whether a client's request still uses the machine."""
        return hasattr(self, "clients") and self.clients.stuck

    def _run(self, stack: ExitStack) -> Result:
        lock = None
        if self._locked:
            from runner.session.locking import Locked  # late: few runs are

            with signals.impatient():  # large images
                lock = Locked(self.plan, self._lock, self._unlocked, self.notice)
        loader = Loader(self.plan, *(() if self._restoring is None else (self._restoring.load,)))
        stack.callback(loader.close)
        outputs = stack.enter_context(ExitStack())
        # Import the rest of the program while images are read.
        from runner.machine.machine import Machine
        from runner.session.clients import Clients
        from runner.session.ends import Ends
        from runner.session.recording import Recording

        if self.plan.trace.path is not None:
            from runner.recording import link  # noqa: F401
            from runner.session import facts  # noqa: F401

        stack.callback(self.files.close)
        with signals.impatient():  # a file system that does not answer
            self.machine = Machine(self.plan, loader)
        stack.callback(self.machine.close)
        self._unless_asked()
        hashed = {} if lock is None else lock.hashed
        self.recording = Recording(self.plan, self.machine, self.notice, self._recording_failed, hashed)
        stack.callback(self.recording.close)
        self.ends = Ends(
            self.plan,
            self.machine,
            self.recording,
            self.files,
            self.input,
            self.output,
            self.console,
            self._console_failed,
            self._command,
            outputs,
            tapped=self._control is not False,
        )
        self.clients = Clients(self.plan.vm.name, self.machine, self.recording.rings, self.ends, self.notice)
        stack.callback(self.clients.close)
        if isinstance(self._control, str):  # any other name is taken later
            self.clients.claim(self._control)
        if self._gdb is not None:
            self.clients.wait_for_gdb(self._gdb)
        self.recording.open_tracepoints()
        board = Board(self.plan.classes, self.plan.slots, self._report_of_device)
        self.backends = Backends(self.plan, self.files, self.machine, self.notice)
        with signals.impatient(), insisting():  # code of a device's author may raise anything
            self.machine.attach(
                lambda planned: make(planned, board._replace(backend=lambda: self.backends.open(planned))),
                self.ends.printer,
            )
            if self._restoring is not None:
                self.machine.buses.hold()  # what its devices do next is recorded
                self._restoring.restore(self.machine)
        self.reported.clear()  # what comes now, a guest caused
        if lock is not None:
            lock.confirm(self.machine)
        stats = self.machine.stats()
        raw = self.ends.open_inputs(stack, self.backends.sources())
        self.ends.follow_sizes()
        self._unless_asked()
        with raw:
            try:
                with self.around(self.machine):
                    ending = self._run_guest()
            finally:
                self.ends.end()
                self.clients.end()
        result = self._finish(ending, {"start": stats, "end": self.machine.stats()})
        self.clients.close(result)
        return result

    def _run_guest(self) -> Ending:
        timeout = self.plan.vm.timeout / 1e9 if self.plan.vm.timeout else math.inf
        rings, watch = self.recording.rings, self.recording.watch
        with signals.telling(self.machine.loop.event):
            return self.machine.run(rings, self._started, timeout, watch, self._asked)

    def _asked(self) -> bool:
        return signals.asked() or self._stopped

    def _unless_asked(self) -> None:
        """Raise KeyboardInterrupt if the end was requested before the guest ran."""
        if self._asked():
            raise KeyboardInterrupt

    def stop(self) -> None:
        """End the run as Ctrl-C does; called by another thread than the run's. Does nothing if the run has ended."""
        self._stopped = True
        if hasattr(self, "machine"):
            self.machine.loop.wake()

    def _started(self) -> None:
        """The guest runs: do now what it need not wait for."""
        self.recording.start()  # from here on the recording survives a kill
        self.ends.begin()
        self.clients.begin(late=self._control is True)
        self._keep()
        self.begun.set()

    def _command(self, command: str) -> None:
        match command:
            case "x":
                self.machine.end(Ending("interrupted", detail="ended with Ctrl-A x"))
            case "p":
                self._ask(self.machine.commands.power_button)
            case "b":
                self._ask(self.machine.commands.line_break)
            case "h":
                self.ends.help()

    def _ask(self, command: Callable[[], bool]) -> None:
        from runner.machine.lifecycle import LifecycleError  # late: few runs need it

        try:
            command()
        except LifecycleError as error:
            self.notice(str(error))

    def _report_of_device(self, text: str) -> None:
        """Report a problem once. A guest may bring devices to report ever other ones."""
        with self._reporting:
            if text in self.reported or len(self.reported) > REPORTS:
                return
            if len(self.reported) == REPORTS:
                text = f"devices report more than {REPORTS} problems: the others are left out"
            self.reported.append(text)
        self.notice(text)

    def _console_failed(self, error: ConsoleClosed) -> None:
        self.machine.end(console_ending(error))

    def _recording_failed(self, error: TraceError) -> None:
        self.recording.rings.abandon()
        self.machine.end(Ending("trace-failed", detail=str(error)))

    def _finish(self, ending: Ending, stats: dict[str, Any]) -> Result:
        from runner.session.finishing import Finish  # late: at the end

        finish = Finish(
            self.plan,
            self.machine,
            self.recording,
            self.backends,
            self.console,
            self.ends.ports,
            self._expected,
            self.reported,
            self.clients.symbol,
        )
        return finish.result(ending, stats)


@contextmanager
def insisting() -> Iterator[None]:
    """Reraise a device's error; if a second signal has come, that is the reason instead."""
    try:
        yield
    except DeviceError as error:
        if signals.insisted():
            raise KeyboardInterrupt from error
        raise
