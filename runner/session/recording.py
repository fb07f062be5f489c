"""What is recorded of a run: its exits, through rings and the recorder, and tracepoints beside them."""

import errno
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner import signals
from runner.kvm.errors import HostError
from runner.recording import process
from runner.recording.channel import Channel
from runner.recording.inputs import InputSender
from runner.recording.process import RecorderProcess
from runner.recording.rings import Rings
from tracer.format.errors import TraceError, reason
from tracer.format.paths import set_aside
from vmspec.host.folder import Folder
from vmspec.host.threads import ThreadError, Worker
from vmspec.plan.plan import Plan
from vmspec.trace.files import ring_path, stream_path, unfinished

if TYPE_CHECKING:
    from runner.machine.machine import Machine
    from runner.recording.tracepoints.perf import Tracepoints
    from tracer.record.tracepointrecorder import TracepointRecorder


class Recording:
    """The rings, which every run has, and what the spec wants to be made of them.

    In the order of a run: made, ``open_tracepoints``, ``watch``, ``start``, ``finish``, ``close``. ``failed`` is called
    when the trace cannot be written any more, ``notice`` with what a person should know. Raises TraceError where the
    rings cannot be made.
    """

    def __init__(
        self, plan: Plan, machine: "Machine", notice: Callable[[str], None], failed: Callable[[TraceError], None]
    ) -> None:
        self.trace: Path | None = None  # once it is complete
        self.notes: list[str] = []
        self._spec = plan.trace
        self._machine = machine
        self._devices = [device.name for device in plan.devices]
        self._notice, self._failed = notice, failed
        self._process: RecorderProcess
        self._channel: Channel
        self._handed = False  # to the recorder
        self._described = threading.Event()  # to the recorder
        self._follower = Worker("recorder", self._follow)
        self._failure: TraceError | None = None
        self._folder: Folder | None = None
        self._tracepoints: Tracepoints | None = None
        self._tracepoint_recorder: TracepointRecorder | None = None
        self._watched = False
        self.rings = self._open_rings(plan.vm.vcpus)
        self._inputs = InputSender()
        if self._spec.path is not None and self._spec.inputs:
            machine.inputs.keep = self._inputs.put

    def _open_rings(self, vcpus: int) -> Rings:
        trace = self._spec
        if trace.path is None:
            return Rings(vcpus, trace.ring, trace.full, None)
        killed = set_aside(trace.path)
        if killed is not None:
            self._notice(f"an earlier run was killed; it can be read after: vmtrace recover {killed}")
        ring = ring_path(trace.path)
        try:
            rings = Rings(vcpus, trace.ring, trace.full, ring)
        except OSError as error:
            match error.errno:
                case errno.ENOSPC:
                    what = "free some room, choose another place with --trace FILE"
                case errno.EMFILE:
                    what = "allow more of them with ulimit -n"
                case errno.ENOMEM:
                    what = "have smaller rings (trace.ring)"
                case _:
                    what = "choose another place with --trace FILE"
            raise TraceError(f"cannot record: {ring}: {error.strerror}; {what}, or run with --no-trace") from error
        signals.leave(ring)  # until there is something in it
        self._folder = Folder(trace.path)
        # The names at once, for a run that is killed before the recorder has the rest; names need no JSON escapes.
        names = ",".join(f'"{name}"' for name in self._devices)
        rings.describe(f'{{"metadata":{{}},"devices":[{names}]}}'.encode())
        return rings

    def open_tracepoints(self) -> None:
        """Open the tracepoints, where the spec wants them. Raises HostError where it requires them and they
        cannot be opened."""
        if self._spec.path is None or not self._spec.tracepoints:
            return
        from runner.recording.tracepoints.perf import Tracepoints

        try:
            self._tracepoints = Tracepoints()
        except HostError as error:
            self._no_tracepoints(error)

    def watch(self, threads: list[int]) -> None:
        """The vCPUs' threads wait before the guest: open the tracepoints on them.

        Raises HostError where the spec requires them and they cannot be opened.
        """
        self._watched = True
        signals.leave(None)
        if self._tracepoints is None:
            return
        try:
            self._tracepoints.open(threads)
        except HostError as error:
            self._close_tracepoints()
            self._no_tracepoints(error)
            return
        from tracer.record.tracepointrecorder import warm

        warm()

    def _no_tracepoints(self, error: HostError) -> None:
        if self._spec.tracepoints == "required":
            self._watched = False
            raise type(error)(f'trace.tracepoints = "required", but {error}') from error
        self._notice(f"tracepoints are not recorded (trace.tracepoints): {error}")

    def start(self) -> None:
        """The guest runs: from now on its exits are written."""
        if self._spec.path is None:
            return
        assert self._folder is not None
        values = {"path": str(self._spec.path), "inputs": self._spec.inputs}
        descriptors = (*self.rings.descriptors, self._folder.descriptor)
        try:
            self._process, self._channel = process.begin(values, descriptors)
        except ThreadError:
            raise
        except OSError as error:
            hint = "; allow more of them with ulimit -n" if error.errno == errno.EMFILE else ""
            self._fail(TraceError(f"cannot record: the recorder does not start: {error.strerror}{hint}"))
            return
        self._handed = True
        self._inputs.open(self._channel)
        self._follower.start()
        if self._tracepoints is not None:
            self._tracepoints.start(self.rings.clock())
            from tracer.record.tracepointrecorder import TracepointRecorder

            assert self._spec.path is not None
            events = list(self._tracepoints.formats)
            self._tracepoint_recorder = TracepointRecorder(
                self._spec.path, self._tracepoints, self._tracepoint_metadata, events
            )
            self._tracepoint_recorder.start()

    def _follow(self) -> None:
        """Tell the recorder what the trace is to say of the run, then hear what becomes of it, in a thread."""
        from runner.session import facts

        self.rings.populate()
        try:
            about, files = facts.about(self._machine, self.rings)
            with suppress(ConnectionError):  # what has become of the recorder is found below
                self._channel.send({"about": about}, files)
        except Exception as error:  # whatever it is, a guest must not run on unrecorded
            self._fail(TraceError(f"cannot record: {reason(error)}"))
        self._described.set()
        self._listen()

    def _listen(self) -> None:
        while (message := self._channel.receive()) is not None:
            match message.values:
                case {"done": {"failed": text}}:
                    self._fail(TraceError(text))
                    return
                case {"done": {"path": path}}:
                    self.trace = Path(path)
                    return
                case {"failed": text}:
                    self._fail(TraceError(text))
        path = self._spec.path
        assert path is not None
        self._fail(
            TraceError(
                f"the recorder {self._process.fate()}; what it had written is in {stream_path(path)}, what it had not "
                f"in {ring_path(path)}; join them with: vmtrace recover {path}"
            )
        )

    def _fail(self, error: TraceError) -> None:
        """Only the first failure is told, and is why there is no trace."""
        if self._failure is None:
            self._failure = error
            self._failed(error)

    def _tracepoint_metadata(self) -> dict[str, str]:
        """The second table's metadata; the trace has the rest."""
        import json

        assert self._tracepoints is not None
        return {
            "vmrun.clock": json.dumps(self.rings.clock()),
            "vmrun.tracepoints.formats": json.dumps(self._tracepoints.described()),
        }

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Complete the files; the rings' counters and stamps are added to the trace's ``summary``.

        Raises TraceError where the trace, or the tracepoints if it is required, cannot be written.
        """
        if self._spec.path is None:
            return
        if not self._handed and self._failure is None:
            self.start()  # the run was interrupted as it began
        if self._handed:
            self._described.wait()
            with suppress(OSError):  # of a recorder that has gone, which is heard
                self._channel.send({"summary": dict(summary)})
            self._follower.outlast()
        failure = self._failure
        try:
            self._finish_tracepoints()
        except TraceError as error:
            if self._spec.tracepoints == "required" and failure is None:
                failure = error
            else:
                self.notes.append(str(error))
        if failure is not None:
            raise failure

    def _finish_tracepoints(self) -> None:
        """Finish the second table, which the trace's own failure does not touch."""
        recorder, tracepoints = self._tracepoint_recorder, self._tracepoints
        if recorder is None or tracepoints is None:
            return
        recorder.stop()
        lost = tracepoints.lost()
        recorder.finish({"rows": recorder.rows, "lost": lost, "unknown": tracepoints.unknown(), "isa": tracepoints.isa})
        if sum(lost):
            self.notes.append(f"{sum(lost)} tracepoint events were lost: their rings were full (trace.tracepoints)")

    def discard(self) -> None:
        """There is no run after all: nothing of it is to be kept."""
        self._watched = False

    def place(self, path: Path) -> Path:
        """Where a file beside the trace is now, if somebody has moved their directory since."""
        return path if self._folder is None else self._folder.now(path)

    def close(self) -> None:
        """Close everything, whatever became of it."""
        self._close_tracepoints()
        if self._handed:
            self._leave()
        self.rings.close()
        if self._folder is not None:
            self._folder.close()
        if self._spec.path is not None and not self._watched:  # nothing ran that could be recovered
            for file in unfinished(self._spec.path):
                file.unlink(missing_ok=True)
        signals.leave(None)

    def _leave(self) -> None:
        """Whatever has become of the run, the recorder is done with it after this."""
        if not self._watched:
            with suppress(OSError):
                self._channel.send({"discard": True})
        self._channel.finish()
        if self._follower.ident is not None:
            self._follower.outlast()
        else:
            self._listen()
        self._channel.close()

    def _close_tracepoints(self) -> None:
        if self._tracepoint_recorder is not None:
            self._tracepoint_recorder.stop()
        if self._tracepoints is not None:
            self._tracepoints.close()
        self._tracepoints = None
