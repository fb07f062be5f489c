"""Running a spec: connects the plan, the machine, the console and the recording."""

import math
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import cache
from operator import methodcaller
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from runner import signals
from runner.backends.input import Input
from runner.backends.terminal import HELP, Raw, terminal_size
from runner.devices import Board, DeviceError, make
from runner.expect.console import Expected
from runner.expect.unmet import Unmet, located
from runner.kvm.errors import HostError
from runner.machine.files import Files
from runner.machine.loading import Loader
from runner.machine.result import Ending, Result, status
from runner.session.backends import Backends
from runner.session.console import Console, ConsoleClosed, Output
from runner.session.given import Given
from runner.session.taps import Tap
from tracer.format.errors import TraceError
from vmspec.host.threads import ThreadError
from vmspec.plan.plan import HostEnd, Plan
from vmspec.schema.problems import Problem, SpecError
from vmspec.trace.ends import CRASHES, ENDS
from vmspec.trace.files import crash_path
from vmspec.trace.record import REASONS

if TYPE_CHECKING:
    from runner.control.consoles import Consoles
    from runner.control.gdb.debugger import Debugger
    from runner.control.offer import Offer
    from runner.control.subject import Subject
    from runner.machine.machine import Machine
    from runner.session.recording import Recording
    from vmspec.image.symbols import Symbols
    from vmspec.spec.models import Spec

OFFERED = 0.1  # seconds after which a machine gets a name that was given none: a run that ends sooner pays nothing
SWITCH_INTERVAL = 0.0002  # seconds that a Python thread keeps the interpreter while another waits for it

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
    descriptors, to read and to write, are gdb's own connection, and the run ends with it. :func:`runner.start` runs a
    spec in another thread, so that the caller can stop it.

    Ctrl-C in the main thread raises KeyboardInterrupt before the guest runs, if it would do so without vmrun. While the
    guest runs, it ends the run with the result "interrupted". Once the guest has ended, it changes nothing.

    Raises ``vmspec.SpecError`` (the spec cannot be used, or the run is not what was locked), ``runner.HostError`` and
    ``runner.KvmError`` (the host cannot run it, the name for ``control`` is in use, or nothing can listen at the
    address for ``gdb``), ValueError (``gdb`` is no address), ``runner.DeviceError`` (a
    device of the spec cannot be made) and ``tracer.TraceError`` (the trace cannot be begun). The result has everything
    that happens once the guest runs.
    """
    return Session.of(spec, overrides, record, input, output, notice, locked, unlocked, images, control, gdb).run()


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
        self._control = control
        self._gdb = gdb
        self.debugger: Debugger | None = None  # once the machine exists, if it waits for gdb
        self.offer: Offer | None = None  # of control, while the machine exists
        self._symbols: list[Symbols] | None = None  # of the guest, once a client asks
        self.begun = threading.Event()  # the guest runs
        # A context in which the guest runs; at its end, the machine is as the guest has left it.
        self.around: Callable[[Machine], AbstractContextManager[None]] = lambda machine: nullcontext()
        self.input, self.output, self.notice = input, output, notice
        self.notes: list[str] = []
        self.reported: list[str] = []  # problems of devices
        self.machine: Machine
        self.recording: Recording
        self.backends: Backends
        self._expected = Expected(plan.expect)
        self.console = Console(self._expected.feed, self._console_failed)
        self._sizes: dict[int, tuple[int, int]] = {}  # of the devices' terminals: columns and rows
        self.ports: dict[str, Console] = {}  # of named ports, what they print
        self._readers: dict[tuple[int, int], Input] = {}  # by device and port
        self._taps: dict[tuple[int, int], Tap] = {}  # the same, if clients can ask for consoles
        self.consoles: Consoles | None = None  # of clients
        self.outputs: list[Output] = []
        self.standard: Output | None = None  # the descriptor of "stdout"
        self.files = Files(plan.names)
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
    ) -> Self:
        """The session of a run with the arguments of :func:`run`. Raises SpecError."""
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
        return (self.offer is not None and self.offer.stuck) or (self.debugger is not None and self.debugger.stuck)

    def _run(self, stack: ExitStack) -> Result:
        lock = None
        if self._locked:
            from runner.session.locking import Locked  # late: few runs are

            with signals.impatient():  # large images
                lock = Locked(self.plan, self._lock, self._unlocked, self.notice)
        loader = Loader(self.plan)
        stack.callback(loader.close)
        stack.callback(self._close_outputs)
        # Import the rest of the program while images are read.
        from runner.machine.machine import Machine
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
        self._offer_control(stack)
        stack.callback(lambda: self.debugger.close() if self.debugger is not None else None)
        if self._gdb is not None:
            self._wait_for_gdb(self._gdb)
        self.recording.open_tracepoints()
        self.standard = self._output(self.output) if self.output is not None else None
        once = cache(self._report_of_device)  # for any number of devices
        board = Board(self.plan.classes, self.plan.slots, once)
        self.backends = Backends(self.plan, self.files, self.machine, self.notice)
        with signals.impatient(), insisting():  # code of a device's author may raise anything
            self.machine.attach(
                lambda planned: make(planned, board._replace(backend=lambda: self.backends.open(planned))),
                self._printer,
            )
        self.reported.clear()  # what comes now, a guest caused
        if lock is not None:
            lock.confirm(self.machine)
        stats = self.machine.stats()
        raw = self._open_inputs(stack)
        self._resize()
        self.machine.loop.each_wake(lambda: self.machine.buses.call(self._resize))  # SIGWINCH wakes it
        self._unless_asked()
        with raw:
            try:
                with self.around(self.machine):
                    ending = self._run_guest()
            finally:
                for reader in self._readers.values():
                    reader.stop()
                if self.debugger is not None:
                    self.debugger.end()
                if self.offer is not None:
                    self.offer.end()
                if self.consoles is not None:
                    self.consoles.end()
        result = self._finish(ending, {"start": stats, "end": self.machine.stats()})
        if self.debugger is not None:
            self.debugger.close(result)
        if self.offer is not None:
            self.offer.close(result)
        return result

    def _wait_for_gdb(self, where: str | tuple[int, int]) -> None:
        from runner.control.gdb.waiting import waiting  # late: few runs are debugged

        self.debugger = waiting(self._subject(), where, self.notice)
        self.machine.held = True

    def _debug(self, end: socket.socket) -> None:
        """Let the client of a connection debug the guest."""
        if self.debugger is None:
            from runner.control.gdb.waiting import attachable

            debugger = attachable(self._subject(), self.notice)
            try:
                debugger.begin()
            except ThreadError as error:
                end.close()
                debugger.close()
                self.notice(f"no debugger can be attached: {error.strerror}")
                return
            self.debugger = debugger
        self.debugger.bring(end)

    def _is_debugged(self) -> bool:
        return self.debugger is not None and self.debugger.busy

    def _offer_control(self, stack: ExitStack) -> None:
        """A name that was asked for is taken before the guest runs, any other one later."""
        if isinstance(self._control, str):
            self.offer = self._offered(self._control)
        stack.callback(lambda: self.offer.close() if self.offer is not None else None)

    def _offered(self, name: str | None) -> "Offer":
        # Late: no short run needs them, and none of a suite or a campaign.
        from runner.control.consoles import Consoles
        from runner.control.offer import Offer

        self.consoles = Consoles(self.machine, self._taps.__getitem__, self._is_read)
        return Offer(name, self._subject()._replace(consoles=self.consoles))

    def _is_read(self, place: tuple[int, int]) -> bool:
        """Whether the run itself reads input for a port of a device."""
        reader = self._readers.get(place)
        return reader is not None and reader.open

    def _subject(self) -> "Subject":
        from runner.control.subject import Subject

        name, rings = self.plan.vm.name, self.recording.rings
        return Subject(name, self.machine, rings, self._symbol, self._debug, self._is_debugged)

    def _offer_late(self) -> None:
        self.offer = self._offered(None)
        self.offer.begin()

    def _symbol(self, address: int) -> str | None:
        """The name of the guest's code at an address; the first call reads the symbols."""
        from runner.session.symbols import name_of, tables  # late: few runs need them

        if self._symbols is None:
            self._symbols = list(tables(self.machine.loader.symbols()))
        return name_of(self._symbols, address)

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

    def _output(self, fd: int) -> Output:
        self.outputs.append(Output(fd, self.machine.stopping))
        return self.outputs[-1]

    def _close_outputs(self) -> None:
        for output in self.outputs:
            output.close()

    def _printer(self, index: int, port: int) -> Callable[[bytes], None]:
        """What a port of a device prints to."""
        end = self.plan.devices[index].ends[port]
        console = self._console(index, port) if end.name else self.console
        write = self.recording.printer(index, port, console.printer(self._sink(index, end)))
        if self._control is False:
            return write
        tap = self._taps[index, port] = Tap()
        return tap.printer(write)

    def _console(self, index: int, port: int) -> Console:
        """What keeps the text of a named port; what is printed to standard output is text of the console too."""
        end = self.plan.devices[index].ends[port]
        if end.output == "stdout":
            return self.console
        return self.ports.setdefault(end.name, Console(None, self._console_failed))

    def _sink(self, index: int, end: HostEnd) -> Output | None:
        match end.output:
            case "stdout":
                if self.output is not None:
                    self.files.standard("standard output", self.output, writes=True)
                return self.standard
            case "none":
                return None
            case path:
                return self._output(self.files.open(f"device[{index}]{end.key}.output", Path(path), writes=True))

    def _open_inputs(self, stack: ExitStack) -> Raw:
        raw = Raw(-1)
        ends = [
            (index, port, planned.name, end)
            for index, planned in enumerate(self.plan.devices)
            for port, end in enumerate(planned.ends)
        ]
        for index, port, name, end in ends:
            fd: int | None
            match end.input:
                case "none":
                    continue
                case "stdin":
                    fd = self.input
                    if fd is not None:
                        self.files.standard("standard input", fd, writes=False)
                case path:
                    fd = self.files.open(f"device[{index}]{end.key}.input", Path(path), writes=False)
                    self.machine.loader.images.keep(f"{name}{f'.{end.name}' * bool(end.name)}/input", Path(path), fd)
            if fd is None:
                continue
            if fd == self.input:
                raw = Raw(fd)
                if os.isatty(fd) and not raw.active:
                    continue  # another session's terminal
            terminal = raw if fd == self.input and raw.active else None
            guest = self.machine.buses.guest(index, port)
            reader = self._readers[index, port] = Input(fd, terminal, guest, self._command, self.machine.loop)
            stack.callback(reader.stop)
        return raw

    def _resize(self) -> None:
        """Tell each virtio console the size of its terminal, if that has changed."""
        buses = self.machine.buses
        for index, planned in enumerate(self.plan.devices):
            ends = planned.ends[0]
            named = ((ends.output, "stdout", self.output), (ends.input, "stdin", self.input))
            size = next((size for name, word, fd in named if name == word and (size := terminal_size(fd))), None)
            if planned.transport and size and size != self._sizes.get(index):
                self._sizes[index] = size
                columns, rows = size
                buses.command(index, f"size {columns}x{rows}", methodcaller("resized", columns, rows))

    def _started(self) -> None:
        """The guest runs: do now what it need not wait for."""
        self.recording.start()  # from here on the recording survives a kill
        for reader in self._readers.values():
            reader.start()
        if self.offer is not None:
            self.offer.begin()
        elif self._control is True:
            self.machine.loop.after(OFFERED, self._offer_late)
        if self.debugger is not None:
            self.debugger.begin()
        self._keep()
        self.begun.set()

    def _command(self, command: str) -> None:
        match command:
            case "x":
                self.machine.end(Ending("interrupted", detail="ended with Ctrl-A x"))
            case "p":
                from runner.machine.lifecycle import LifecycleError  # late: few runs need it

                try:
                    self.machine.commands.power_button()
                except LifecycleError as error:
                    self.notice(str(error))
            case "h":
                self.machine.buses.call(self._help)  # a reader that stalls must not hold up the loop

    def _help(self) -> None:
        if self.standard is None:
            return
        try:
            self.standard.write(HELP)
        except ConsoleClosed as error:
            self._console_failed(error)

    def _report_of_device(self, text: str) -> None:
        self.reported.append(text)
        self.notice(text)

    def _console_failed(self, error: ConsoleClosed) -> None:
        self.machine.end(console_ending(error))

    def _recording_failed(self, error: TraceError) -> None:
        self.recording.rings.abandon()
        self.machine.end(Ending("trace-failed", detail=str(error)))

    def _finish(self, ending: Ending, stats: dict[str, Any]) -> Result:
        if self.machine.failures and ending.kind in ENDS and ending.kind not in CRASHES:
            # The guest may have ended well and its disk not: a device's last error counts no less.
            ending = self.machine.failures.pop(0)
        self.notes += dict.fromkeys(failure.detail for failure in self.machine.failures)
        if self.console.failure is not None and ending.kind in ENDS and ending.kind not in CRASHES:
            ending = console_ending(self.console.failure)  # writing what was still queued failed
        if (failure := self.backends.failure()) is not None and ending.kind in ENDS and ending.kind not in CRASHES:
            ending = failure
        report, report_path = self._report(ending)
        self._advise(ending)
        from runner.expect import ended  # late: at the end

        console, cases = self._expected.end(self.console.text())
        expect, counters = self.plan.expect, self._counters()
        ports = {name: port.text() for name, port in self.ports.items()}
        failures = (*console, *ended.unmet(expect, ending.kind, ending.status, ports, counters))
        summary = {
            "result": {"kind": ending.kind, "status": status(expect, ending, failures)},
            "stats": stats,
            "duration_ns": self.machine.duration,
            "clocks": self.recording.rings.clocks(),
        }
        if frames := self.backends.frames():
            summary["frames"] = frames
        try:
            self.recording.finish(summary)
        except TraceError as error:
            ending = Ending("trace-failed", detail=str(error))
        else:
            failures += tuple(self._unmet_in_trace())
        return Result(
            kind=ending.kind,
            status=status(expect, ending, failures),
            detail=ending.detail,
            console=self.console.text(),
            trace=self.recording.trace,
            counters=counters,
            seconds=self.machine.duration / 1e9,
            unmet=tuple(located(failure, self.recording.trace) for failure in failures),
            report=report,
            report_path=report_path,
            notes=(*self.notes, *self.recording.notes),
            cases=cases,
            ports=ports,
        )

    def _unmet_in_trace(self) -> Iterator[Unmet]:
        """The expectations that the finished trace shows to be unmet."""
        trace = self.recording.trace
        if self.plan.expect.of_trace() and trace is not None:
            from runner.expect.recorded import checking  # late: it imports what reads traces

            yield from checking.unmet(self.plan.expect, trace, self.reported)

    def _advise(self, ending: Ending) -> None:
        """Note what the guest was doing if its time was over."""
        if ending.kind == "timeout" and "timeout" not in self.plan.expect.exit:
            from runner.session.advice import after_timeout  # late: few runs time out

            rings = self.recording.rings
            self.notes += after_timeout(self.machine, rings, self.console.text(), self._symbol)

    def _report(self, ending: Ending) -> tuple[str, Path | None]:
        """The crash report and its path, if the guest crashed."""
        if ending.kind not in CRASHES or ending.kind in self.plan.expect.exit or self.machine.last is None:
            return "", None
        from runner.session import crash

        try:
            report = crash.report(self.machine, self.machine.last, self.recording.rings, ending.detail)
        except Exception as error:  # the guest's last state may break the report; the trace is finished all the same
            self.notes.append(f"no crash report could be made: {error!r}")
            return "", None
        if self.plan.trace.path is None:
            return report, None
        try:
            return report, crash.save(report, self.recording.place(crash_path(self.plan.trace.path)))
        except OSError as error:
            self.notes.append(f"the crash report could not be saved: {error}")
            return report, None

    def _counters(self) -> dict[str, int]:
        totals = [sum(column) for column in zip(*self.machine.counts(), strict=True)]
        counters = {REASONS[n] if n < len(REASONS) else f"exit_{n}": count for n, count in enumerate(totals) if count}
        counters["dropped"] = sum(self.recording.rings.counters("dropped"))
        return counters


@contextmanager
def insisting() -> Iterator[None]:
    """Reraise a device's error; if a second signal has come, that is the reason instead."""
    try:
        yield
    except DeviceError as error:
        if signals.insisted():
            raise KeyboardInterrupt from error
        raise


def console_ending(error: ConsoleClosed) -> Ending:
    """How a run ends whose console cannot be written."""
    if error.unread:
        return Ending("console-closed", detail="nobody reads the console any more")
    return Ending("console-failed", detail=f"the console cannot be written: {error.strerror}")
