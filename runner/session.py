"""Running a spec: the composition root, where the plan, the machine, the console and the recorder meet."""

import errno
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve

from runner.console import Console, ConsoleClosed, Output, Watch
from runner.devices import DeviceError, make
from runner.kvm.errors import HostError
from runner.loading import Loader
from runner.result import Ending, Result, status, unmet
from runner.terminal import HELP, Escapes, Input, Raw
from tracer.errors import TraceError
from tracer.paths import ring_path, set_aside
from vmspec.document import Document
from vmspec.models import CRASHES, Spec
from vmspec.plan import Plan, PlannedDevice
from vmspec.planner import plan as make_plan
from vmspec.record import REASONS

if TYPE_CHECKING:
    from runner.kernel.perf import KernelEvents
    from runner.machine import Machine
    from runner.rings import Rings
    from tracer.kernelfile import KernelRecorder
    from tracer.recorder import Recorder
SWITCH_INTERVAL = 0.0002  # seconds a Python thread keeps the interpreter while another waits for it

# Runs whose threads never came back: they still use all of it, so it is kept for ever rather than pulled away.
STUCK: list[tuple["Session", ExitStack]] = []


def run(
    spec: Spec | Path | str,
    *,
    overrides: tuple[str, ...] = (),
    record: bool = True,
    input: int | None = None,
    output: int | None = None,
    notice: Callable[[str], None] = lambda text: None,
) -> Result:
    """Run a spec (or the spec file at a path, with ``--set`` style ``overrides``) to the guest's end.

    ``input`` and ``output`` are the descriptors that stand for the spec's "stdin" and "stdout"; None: the guest gets
    no input, its text is only in the result. A terminal as input is made raw for the run. ``record`` False: no trace,
    whatever the spec says. ``notice`` is told what a person should know while it runs.

    Raises ``vmspec.SpecError`` (the spec cannot be used), ``runner.HostError`` and ``runner.KvmError`` (the host cannot
    run it), ``runner.DeviceError`` (a device of the spec cannot be made) and ``tracer.TraceError`` (the trace cannot be
    begun); whatever happens once the guest runs is in the result.
    """
    plan = make_plan(spec) if isinstance(spec, Spec) else Document.open(Path(spec), overrides).plan()
    if not record:
        plan = plan._replace(spec=evolve(plan.spec, trace=evolve(plan.spec.trace, path=None)))
    return Session(plan, input, output, notice).run()


class Session:
    """One run: what is opened for it and how it is closed."""

    def __init__(self, plan: Plan, input: int | None, output: int | None, notice: Callable[[str], None]) -> None:
        self.plan = plan
        self.spec = plan.spec
        self.input, self.output, self.notice = input, output, notice
        self.notes: list[str] = []
        self.recorder: Recorder | None = None
        self.kernel: KernelEvents | None = None
        self.kernel_recorder: KernelRecorder | None = None
        self.machine: Machine
        self.rings: Rings
        expect = self.spec.expect
        self.console = Console(Watch(expect.console, expect.absent), self._console_closed)
        self.inputs: list[Input] = []
        self._begun = False

    def run(self) -> Result:
        """Open everything, run the guest, close everything."""
        stack = ExitStack()
        # While the recorder imports pyarrow, a vCPU that needs Python should not wait for the usual 5 ms.
        interval = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_INTERVAL)
        try:
            return self._run(stack)
        finally:
            sys.setswitchinterval(interval)
            if hasattr(self, "machine") and self.machine.alive():
                STUCK.append((self, stack))
            else:
                stack.close()

    def _run(self, stack: ExitStack) -> Result:
        loader = Loader(self.plan)
        stack.callback(loader.close)
        # The rest of the program is imported while images are read.
        from runner.machine import Machine

        self.machine = Machine(self.plan, loader)
        stack.callback(self.machine.close)
        self.rings = self._open_rings()
        stack.callback(self._close_rings)
        stack.callback(self._stop_recorder)
        self._open_kernel(stack)
        stop = self.machine.stopping
        standard = Output(self.output, stop) if self.output is not None else None
        self.machine.attach(
            lambda planned: make(planned, self.spec.path.parent if self.spec.path else Path.cwd()),
            lambda planned: self.console.printer(self._sink(planned, standard, stack)),
        )
        stats = self.machine.stats()
        raw = self._open_inputs(stack)
        timeout = self.spec.vm.timeout
        self._begun = True
        with raw:
            try:
                ending = self.machine.run(self.rings, self._started, timeout / 1e9 if timeout else None, self._watch)
            finally:
                for reader in self.inputs:
                    reader.stop()
        return self._finish(ending, {"start": stats, "end": self.machine.stats()})

    def _open_rings(self) -> "Rings":
        from runner.rings import Rings

        trace = self.spec.trace
        if trace.path is None:
            return Rings(self.spec.vm.vcpus, trace.ring, trace.full, None)
        killed = set_aside(trace.path)
        if killed is not None:
            self.notice(f"an earlier run was killed; it can be read after: vmtrace recover {killed}")
        ring = ring_path(trace.path)
        try:
            rings = Rings(self.spec.vm.vcpus, trace.ring, trace.full, ring)
        except OSError as error:
            what = "free some room, or choose another place" if error.errno == errno.ENOSPC else "choose another place"
            raise TraceError(
                f"cannot record: {ring}: {error.strerror}; {what} with --trace FILE, or run with --no-trace"
            ) from error
        # The names at once, for a run that is killed before the recorder has the rest; names need no JSON escapes.
        names = ",".join(f'"{device.name}"' for device in self.plan.devices)
        rings.describe(f'{{"metadata":{{}},"devices":[{names}]}}'.encode())
        return rings

    def _open_kernel(self, stack: ExitStack) -> None:
        trace = self.spec.trace
        if trace.path is None or not trace.kernel:
            return
        from runner.kernel.perf import KernelEvents

        try:
            self.kernel = KernelEvents()
        except HostError as error:
            self._no_kernel(error)
            return
        stack.callback(self._close_kernel)

    def _watch(self, threads: list[int]) -> None:
        """The vCPUs' threads wait before the guest: open the events on them."""
        if self.kernel is None:
            return
        try:
            self.kernel.open(threads)
        except HostError as error:
            self._close_kernel()
            self._no_kernel(error)
            return
        from tracer.kernelfile import warm

        warm()

    def _no_kernel(self, error: HostError) -> None:
        if self.spec.trace.kernel == "required":
            self._begun = False
            raise type(error)(f"the kernel's events, which trace.kernel requires, cannot be had: {error}") from error
        self.notice(f"the kernel's events are not recorded (trace.kernel): {error}")

    def _close_kernel(self) -> None:
        if self.kernel_recorder is not None:
            self.kernel_recorder.stop()
        if self.kernel is not None:
            self.kernel.close()
        self.kernel = None

    def _stop_recorder(self) -> None:
        if self.recorder is not None:
            self.recorder.stop()

    def _close_rings(self) -> None:
        self.rings.close()
        if self.rings.path is not None and not self._begun:
            self.rings.path.unlink(missing_ok=True)  # nothing ran that could be recovered

    def _sink(self, planned: PlannedDevice, standard: Output | None, stack: ExitStack) -> Output | None:
        match getattr(planned.model, "output", "stdout"):
            case "stdout":
                return standard
            case "none":
                return None
            case path:
                fd = open_file(planned, path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, stack)
                return Output(fd, self.machine.stopping)

    def _open_inputs(self, stack: ExitStack) -> Raw:
        raw = Raw(-1)
        for index, planned in enumerate(self.plan.devices):
            fd: int | None
            match getattr(planned.model, "input", "none"):
                case "none":
                    continue
                case "stdin":
                    fd = self.input
                case path:
                    fd = open_file(planned, path, os.O_RDONLY | os.O_NONBLOCK, stack)
            if fd is None:
                continue
            escapes = None
            if fd == self.input:
                raw = Raw(fd)
                if os.isatty(fd) and not raw.active:
                    continue  # another job's terminal: reading from it would stop this one
                escapes = Escapes() if raw.active else None
            self.inputs.append(Input(fd, escapes, *self._receiver(index), self._command))
        return raw

    def _receiver(self, index: int) -> tuple[Callable[[], int], Callable[[bytes], None]]:
        buses = self.machine.buses
        return lambda: buses.room(index), lambda data: buses.receive(index, data)

    def _started(self) -> None:
        """The guest runs: now there is time for what it need not wait for."""
        for reader in self.inputs:
            reader.start()
        self.recorder = self._make_recorder()
        if self.kernel is not None:
            self.kernel.start(self.rings.clock())
        if self.recorder is not None:
            self.recorder.start()
        if self.kernel is not None:
            from tracer.kernelfile import KernelRecorder

            assert self.spec.trace.path is not None
            path, events = self.spec.trace.path, list(self.kernel.formats)
            self.kernel_recorder = KernelRecorder(path, self.kernel, self._kernel_metadata, events)
            self.kernel_recorder.start()

    def _kernel_metadata(self) -> dict[str, str]:
        """The second table's metadata; the trace has the rest."""
        import json

        assert self.kernel is not None
        return {
            "vmrun.clock": json.dumps(self.rings.clock()),
            "vmrun.kernel.formats": json.dumps(self.kernel.described()),
        }

    def _make_recorder(self) -> "Recorder | None":
        path = self.spec.trace.path
        if path is None:
            return None
        from tracer.recorder import Recorder

        devices = [device.name for device in self.plan.devices]
        return Recorder(path, self.rings, self._metadata, devices, self._recording_failed)

    def _metadata(self) -> dict[str, str]:
        """The trace's metadata, which also goes into the ring file; called in the recorder's thread."""
        import json

        from runner import facts

        self.rings.populate()
        metadata = facts.metadata(self.machine, self.rings.clock())
        devices = [device.name for device in self.plan.devices]
        self.rings.describe(json.dumps({"metadata": metadata, "devices": devices}).encode())
        return metadata

    def _command(self, command: str) -> None:
        match command:
            case "x":
                self.machine.end(Ending("interrupted", detail="ended with Ctrl-A x"))
            case "h" if self.output is not None:
                try:
                    Output(self.output, self.machine.stopping).write(HELP)
                except ConsoleClosed:
                    self._console_closed()

    def _console_closed(self) -> None:
        self.machine.end(Ending("console-closed", detail="nobody reads the console any more"))

    def _recording_failed(self, error: TraceError) -> None:
        self.rings.abandon()
        self.machine.end(Ending("trace-failed", detail=str(error)))

    def _finish(self, ending: Ending, stats: dict[str, Any]) -> Result:
        seconds = self.machine.seconds
        report, report_path = self._report(ending)
        self.rings.ended()
        failures = unmet(self.spec.expect, ending, self.console.watch.missing(), self.console.watch.unwanted())
        code = status(self.spec.expect, ending, failures)
        trace = None
        # There is none yet where the run was interrupted as it began.
        recorder = self.recorder = self.recorder or self._make_recorder()
        if recorder is not None:
            summary = {
                "result": {"kind": ending.kind, "status": code},
                "rows": self.rings.counters("head"),
                "dropped": self.rings.counters("dropped"),
                "interrupted": self.rings.counters("interrupted"),
                "stats": stats,
                "duration_ns": int(seconds * 1e9),
            }
            try:
                try:
                    trace = recorder.finish(summary)
                except KeyboardInterrupt:  # the run has ended already; what it recorded is not given up
                    trace = recorder.finish(summary)
            except TraceError as error:
                ending = Ending("trace-failed", detail=str(error))
                code = status(self.spec.expect, ending, failures)
            try:
                self._finish_kernel()
            except TraceError as error:
                if self.spec.trace.kernel == "required" and ending.kind != "trace-failed":
                    ending = Ending("trace-failed", detail=str(error))
                    code = status(self.spec.expect, ending, failures)
                else:
                    self.notes.append(str(error))
        return Result(
            kind=ending.kind,
            status=code,
            detail=ending.detail,
            console=self.console.text(),
            trace=trace,
            counters=self._counters(),
            seconds=seconds,
            unmet=failures,
            report=report,
            report_path=report_path,
            notes=tuple(self.notes),
        )

    def _finish_kernel(self) -> None:
        """Finish the second table, which the trace's own failure does not touch."""
        recorder, kernel = self.kernel_recorder, self.kernel
        if recorder is None or kernel is None:
            return
        recorder.stop()
        lost = kernel.lost()
        summary = {"rows": recorder.rows, "lost": lost, "unknown": kernel.unknown(), "isa": kernel.isa}
        recorder.finish(summary)
        if sum(lost):
            self.notes.append(f"{sum(lost)} of the kernel's events were lost: their rings were full (trace.kernel)")

    def _report(self, ending: Ending) -> tuple[str, Path | None]:
        """The crash report and where it was saved, where the guest crashed."""
        if ending.kind not in CRASHES or ending.kind in self.spec.expect.exit or self.machine.last is None:
            return "", None
        from runner import crash

        try:
            report = crash.report(self.machine, self.machine.last, self.rings, ending.detail)
        except Exception as error:  # what a guest leaves behind may be anything; its trace is finished all the same
            self.notes.append(f"no crash report could be made: {error!r}")
            return "", None
        try:
            return report, crash.save(report, self.spec.trace.path) if self.spec.trace.path is not None else None
        except OSError as error:
            self.notes.append(f"the crash report could not be saved: {error}")
            return report, None

    def _counters(self) -> dict[str, int]:
        totals = [sum(column) for column in zip(*self.machine.counts(), strict=True)]
        counters = {REASONS[n] if n < len(REASONS) else f"exit_{n}": count for n, count in enumerate(totals) if count}
        counters["dropped"] = sum(self.rings.counters("dropped"))
        return counters


def open_file(planned: PlannedDevice, path: str | Path, flags: int, stack: ExitStack) -> int:
    """A descriptor for a device's input or output, closed with the stack. Raises DeviceError."""
    try:
        fd = os.open(path, flags | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise DeviceError(f"device {planned.name}: cannot open {path}: {error.strerror}") from error
    stack.callback(os.close, fd)
    return fd
