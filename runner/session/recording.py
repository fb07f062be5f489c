"""What is recorded of a run: its exits, through rings and the recorder, and tracepoints beside them."""

import errno
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner import signals
from runner.kvm.errors import HostError
from runner.recording.rings import Rings
from tracer.format.errors import TraceError
from tracer.format.paths import set_aside
from vmspec.plan.plan import Plan
from vmspec.trace.files import ring_path, unfinished

if TYPE_CHECKING:
    from runner.machine.machine import Machine
    from runner.recording.tracepoints.perf import Tracepoints
    from tracer.record.recorder import Recorder
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
        self._recorder: Recorder | None = None
        self._tracepoints: Tracepoints | None = None
        self._tracepoint_recorder: TracepointRecorder | None = None
        self._watched = False
        self.rings = self._open_rings(plan.vm.vcpus)

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
        self._recorder = self._make_recorder()
        if self._tracepoints is not None:
            self._tracepoints.start(self.rings.clock())
        if self._recorder is not None:
            self._recorder.start()
        if self._tracepoints is not None:
            from tracer.record.tracepointrecorder import TracepointRecorder

            assert self._spec.path is not None
            events = list(self._tracepoints.formats)
            self._tracepoint_recorder = TracepointRecorder(
                self._spec.path, self._tracepoints, self._tracepoint_metadata, events
            )
            self._tracepoint_recorder.start()

    def _make_recorder(self) -> "Recorder | None":
        if self._spec.path is None:
            return None
        from tracer.record.recorder import Recorder

        return Recorder(self._spec.path, self.rings, self._metadata, self._devices, self._failed)

    def _metadata(self) -> dict[str, str]:
        """The trace's metadata, which also goes into the ring file; called in the recorder's thread."""
        import json
        from datetime import UTC, datetime, timedelta

        from runner.session import facts

        self.rings.populate()
        started = datetime.now(UTC) - timedelta(microseconds=self.rings.elapsed() // 1000)
        metadata = facts.metadata(self._machine, self.rings.clock(), started)
        self.rings.describe(json.dumps({"metadata": metadata, "devices": self._devices}).encode())
        return metadata

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
        failure: TraceError | None = None
        # There is no recorder yet where the run was interrupted as it began.
        recorder = self._recorder = self._recorder or self._make_recorder()
        if recorder is None:
            return
        counters = {
            "rows": self.rings.counters("head"),
            "dropped": self.rings.counters("dropped"),
            "interrupted": self.rings.counters("interrupted"),
            **{f"{name}_ns": self.rings.stamps(name) for name in ("start", "stop", "open")},
        }
        try:
            self.trace = recorder.finish({**summary, **counters})
        except TraceError as error:
            failure = error
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

    def close(self) -> None:
        """Close everything, whatever became of it."""
        self._close_tracepoints()
        if self._recorder is not None:
            self._recorder.stop()
        self.rings.close()
        if self._spec.path is not None and not self._watched:  # nothing ran that could be recovered
            for file in unfinished(self._spec.path):
                file.unlink(missing_ok=True)
        signals.leave(None)

    def _close_tracepoints(self) -> None:
        if self._tracepoint_recorder is not None:
            self._tracepoint_recorder.stop()
        if self._tracepoints is not None:
            self._tracepoints.close()
        self._tracepoints = None
