"""The recording of a run: exits, through rings and the recorder, and tracepoints."""

import errno
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner import signals
from runner.kvm.errors import HostError
from runner.recording.rings import Rings
from runner.recording.rows import RowSender
from tracer.format.errors import TraceError, reason
from tracer.format.paths import set_aside
from vmspec.host.folder import Folder
from vmspec.host.threads import ThreadError, Worker
from vmspec.plan.plan import Plan
from vmspec.trace.files import exists, ring_path, stream_path, unfinished
from vmspec.trace.outputs import IN_EXITS, Output

if TYPE_CHECKING:
    from runner.machine.machine import Machine
    from runner.recording.link import Link
    from runner.recording.tracepoints.perf import Tracepoints
    from runner.session.facts import Hashed

SHORT = 0.02  # seconds: mapping all pages of the rings takes longer than a shorter run is worth


class Recording:
    """The rings, which every run has, and what the spec wants recorded.

    Order of the calls: made, ``open_tracepoints``, ``watch``, ``start``, ``finish``, ``close``. ``failed`` is called
    when the trace can no longer be written, ``notice`` with messages for the user. ``hashed`` are the files that were
    hashed before the run, by name. Raises TraceError if the rings
    cannot be made.
    """

    def __init__(
        self,
        plan: Plan,
        machine: "Machine",
        notice: Callable[[str], None],
        failed: Callable[[TraceError], None],
        hashed: "Mapping[str, Hashed]",
    ) -> None:
        self.trace: Path | None = None  # once it is complete
        self.notes: list[str] = []
        self._spec = plan.trace
        self._hashed = hashed
        self._machine = machine
        self._devices = [device.name for device in plan.devices]
        self._notice, self._failed = notice, failed
        self._link: Link | None = None  # once the run is handed over to the recorder
        self._over = threading.Event()  # no vCPU runs any more
        self._told = threading.Event()  # the run's facts for the trace
        self._follower = Worker("recorder", self._follow)
        self._done: dict[str, Any] = {}  # the recorder's result
        self._failure: TraceError | None = None
        self._folder: Folder | None = None
        self._tracepoints: Tracepoints | None = None
        self._watched = False
        # Other devices have no requests.
        requests = self._spec.requests and any(device.transport is not None for device in plan.devices)
        transfers = self._spec.path is not None and plan.records_dma
        self.rings = self._open_rings(plan.vm.vcpus, requests=requests, transfers=transfers)
        self._inputs, self._outputs = RowSender("inputs"), RowSender("outputs")
        self._rows: list[str] = []  # the tables that are there even without a row
        if self._spec.path is not None and self._spec.inputs:
            machine.inputs.keep = self._inputs.put
            self._rows.append("inputs")
        if transfers:
            machine.keep_dma(self.rings)

    def _open_rings(self, vcpus: int, *, requests: bool, transfers: bool) -> Rings:
        trace = self._spec
        if trace.path is None:
            return Rings(vcpus, trace.ring, trace.full, None)
        killed = set_aside(trace.path)
        if killed is not None:
            self._notice(f"an earlier run was killed; to read its trace: vmtrace recover {killed}")
        ring = ring_path(trace.path)
        try:
            rings = Rings(vcpus, trace.ring, trace.full, ring, requests=requests, transfers=transfers)
        except OSError as error:
            match error.errno:
                case errno.ENOSPC:
                    what = "free some room, choose another place with --trace FILE"
                case errno.EMFILE:
                    what = "allow more of them with ulimit -n"
                case errno.ENOMEM:
                    what = "make the rings smaller (trace.ring)"
                case _:
                    what = "choose another place with --trace FILE"
            raise TraceError(f"cannot record: {ring}: {error.strerror}; {what}, or run with --no-trace") from error
        signals.leave(ring)  # until it has rows
        self._folder = Folder(trace.path)
        # The names now, for a run that is killed before the recorder has the rest; names need no JSON escapes.
        names = ",".join(f'"{name}"' for name in self._devices)
        rings.describe(f'{{"metadata":{{}},"devices":[{names}]}}'.encode())
        return rings

    def open_tracepoints(self) -> None:
        """Open the tracepoints, if the spec wants them. Raises HostError if the spec requires them and they cannot be
        opened."""
        if self._spec.path is None or not self._spec.tracepoints:
            return
        from runner.recording.tracepoints.perf import Tracepoints

        try:
            self._tracepoints = Tracepoints(self._spec.events)
        except HostError as error:
            self._no_tracepoints(error)

    def printer(self, device: int, port: int, write: Callable[[bytes], None]) -> Callable[[bytes], None]:
        """What a device calls with its text: ``write``, and before it the table of outputs if no exit has the text."""
        if self._spec.path is None or not self._spec.outputs or self._machine.plan.devices[device].kind in IN_EXITS:
            return write

        def recorded(data: bytes) -> None:
            self._outputs.put(Output(self.rings.elapsed(), device, port, data))
            write(data)

        return recorded

    def watch(self, threads: list[int]) -> None:
        """Open the tracepoints on the vCPUs' threads, which wait before the guest. Hand the run over: if it is killed
        at any moment from its first exit on, the recorder completes the trace.

        Raises HostError if the spec requires tracepoints and they cannot be opened.
        """
        self._watched = True
        signals.leave(None)
        if self._spec.path is None:
            return
        if self._tracepoints is not None:
            try:
                self._tracepoints.open(threads)
            except HostError as error:
                self._close_tracepoints()
                self._no_tracepoints(error)
        early = self._tracepoints is not None
        self._hand_over(early=early)
        if early and self._link is not None:
            self._link.ready()  # otherwise the events' rings would overflow before it is ready

    def _no_tracepoints(self, error: HostError) -> None:
        if self._spec.tracepoints == "required":
            self._watched = False
            raise type(error)(f'trace.tracepoints = "required", but {error}') from error
        self._notice(f"tracepoints are not recorded (trace.tracepoints): {error}")

    def start(self) -> None:
        """Write the guest's exits from now on; the guest runs."""
        if self._spec.path is None or self._failure is not None:
            return
        if self._link is None:
            return
        self._inputs.open(self._link)
        self._outputs.open(self._link)
        if self._tracepoints is not None:
            opened = self._tracepoints.opened(self.rings.clock())
            self._link.tell(self._tracepoints.descriptors, tracepoints=opened)
        self._follower.start()

    def _hand_over(self, *, early: bool) -> None:
        from runner.recording.link import Link  # late: a run that is not recorded needs neither sockets nor pickles

        path, folder = self._spec.path, self._folder
        assert path is not None
        assert folder is not None
        try:
            descriptors = (*self.rings.descriptors, folder.descriptor)
            transfers = self.rings.transfers is not None
            self._link = Link(path, descriptors, rows=self._rows, transfers=transfers, early=early)
        except ThreadError:
            raise
        except OSError as error:
            hint = "; allow more of them with ulimit -n" if error.errno == errno.EMFILE else ""
            self._fail(f"cannot record: the recorder does not start: {error.strerror}{hint}")

    def _follow(self) -> None:
        """Send the recorder the run's facts, then wait for its result, in a thread."""
        import pickle

        from runner.session import facts

        assert self._link is not None
        try:
            about, files = facts.about(self._machine, self._hashed)
            self._link.tell(files, about=pickle.dumps(about), started=facts.started(self.rings))
        except Exception as error:  # any error: a guest must not run on unrecorded
            self._fail(f"cannot record: {reason(error)}")
        self._told.set()
        if not self._over.wait(SHORT):
            self.rings.populate()
        self._done = self._link.listen(self._fail)

    def _end(self) -> None:
        self._over.set()
        self.rings.ended()

    def _fail(self, text: str) -> None:
        """Report the first failure only; it is the reason that there is no trace."""
        if self._failure is None:
            self._failure = TraceError(text)
            self._failed(self._failure)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Complete the files; the rings' counters and stamps are added to the trace's ``summary``.

        Raises TraceError if the trace, or the tracepoints that the spec requires, cannot be written.
        """
        if self._spec.path is None:
            return
        if self._follower.ident is None:
            self.start()  # the run was interrupted as it began
        self._end()
        if self._link is not None and self._follower.ident is not None:
            self._told.wait()
            self._link.tell(summary=dict(summary))
            self._follower.outlast()
            # All events are drained, not only received: until the recorder has mapped the rings, these mappings may be
            # the only ones, and an event without a ring is lost. The recorder closes its descriptors after these.
            self._close_tracepoints()
        self.notes += self._done.get("notes", ())
        if "path" in self._done:
            self.trace = Path(self._done["path"])
        text = self._done.get("tracepoints")
        if text is not None and self._spec.tracepoints == "required":
            self._fail(text)
        elif text is not None:
            self.notes.append(text)
        if self._failure is not None:
            raise self._what_is_kept(self._failure)

    def _what_is_kept(self, failure: TraceError) -> TraceError:
        path = self._spec.path
        if path is None or not self._done.get("gone"):
            return failure
        if not exists(stream_path(path)):
            return TraceError(f"{failure}; what was recorded is in {ring_path(path)}: vmtrace recover {path}")
        return TraceError(
            f"{failure}; what was written is in {stream_path(path)}, the rest is in {ring_path(path)}; "
            f"join them with: vmtrace recover {path}"
        )

    def discard(self) -> None:
        """There was no run after all: keep nothing of it."""
        self._watched = False

    def place(self, path: Path) -> Path:
        """The current path of a file beside the trace, if somebody has moved its directory since."""
        return path if self._folder is None else self._folder.now(path)

    def close(self) -> None:
        """Close everything, after any result."""
        self._end()
        if self._link is not None:
            self._leave(self._link)
        self._close_tracepoints()
        self.rings.close()
        if self._folder is not None:
            self._folder.close()
        if self._spec.path is not None and not self._watched:  # nothing ran, so there is nothing to recover
            for file in unfinished(self._spec.path):
                file.unlink(missing_ok=True)
        signals.leave(None)

    def _leave(self, link: "Link") -> None:
        """The recorder is done with the run after this, after any result."""
        if not self._watched:
            link.tell(discard=True)
        link.finish()
        if self._follower.ident is not None:
            self._follower.outlast()
        else:
            link.listen(lambda text: None)
        link.close()

    def _close_tracepoints(self) -> None:
        if self._tracepoints is not None:
            self._tracepoints.close()
        self._tracepoints = None
