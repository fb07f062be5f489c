"""The recorder's program, started by :mod:`runner.recording.process`: it drains the rings of runs into their traces.

Each run is a thread. The VMM hands a run over by a message with descriptors on the channel of the process. Further
messages come on the run's own channel, each with one value: ``tracepoints`` (with the events' descriptors) if they are
recorded; ``about``, the facts for the trace's metadata, pickled, with the time of day ``started`` (and the images'
descriptors); ``rows`` of a table that Python makes, such as inputs, as they come; last ``summary``, the closing one,
or ``discard`` if there was no run after all.
If the channel ends before that, the VMM was killed and its vCPUs are dead. What they had published is drained, and the
trace is closed with the end "killed".

The recorder sends the VMM ``ready`` if asked, ``failed`` as soon as nothing more can be recorded, and last ``done``:
the trace's ``path`` or why it ``failed``, ``notes``, and the errors of the ``tracepoints``.
"""

import json
import os
import socket
import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from runner.recording import facts, kepttexts, lockfacts
from runner.recording.channel import Channel, Message
from runner.recording.process import CHANNEL
from runner.recording.source import RingSource, begun
from runner.recording.tracepoints.source import TracepointRings
from tracer.format.closing import KILLED
from tracer.format.errors import TraceError
from tracer.record.recorder import Recorder
from tracer.record.requestrecorder import RequestRecorder
from tracer.record.rowrecorder import RowRecorder
from tracer.record.tablerecorder import TableRecorder
from tracer.record.tracepointrecorder import TracepointRecorder
from tracer.record.transferrecorder import TransferRecorder
from vmspec.host.folder import Folder
from vmspec.host.threads import ThreadError, Worker
from vmspec.trace import keys
from vmspec.trace.files import RingLostError, ring_path, unfinished
from vmspec.trace.tables import TABLES


class Run(Worker):
    """One run. ``values`` and ``descriptors`` come from :class:`runner.recording.link.Link`."""

    def __init__(self, values: dict[str, Any], descriptors: list[int]) -> None:
        super().__init__("run")
        end, self._ring, self._event, *others, folder = descriptors
        self._transfers_ring = [others.pop(-2), others.pop()] if values["transfers"] else []
        self._requests_event = others
        self._descriptors = descriptors[1:]
        self._probes: list[int] = []  # descriptors of the tracepoints
        self._channel = Channel(socket.socket(fileno=end))
        self._early: bool = values["early"]
        self._with_rows: tuple[str, ...] = values["rows"]
        self._given = Path(values["path"])
        self._folder = Folder(self._given, folder)
        self._about: Message | None = None
        self._events: tuple[TracepointRings, TracepointRecorder] | None = None
        self._first: list[tuple[str, Iterable[Any]]] = []  # rows that came before writers can be made
        self._rows: dict[str, RowRecorder] = {}  # by table
        self._make: Callable[[str], RowRecorder] | None = None
        self._tables: list[TableRecorder] = []  # that are recorded from rings of their own

    def work(self) -> None:
        """Record, and report the result. The report is always sent, so the VMM never waits for nothing."""
        try:
            with ExitStack() as stack:
                done = self._record(stack)
        except (TraceError, RingLostError) as error:
            done = {"failed": self._folder.told(str(error))}
        except Exception as error:
            done = {"failed": f"the recorder failed: {error!r}"}
        self.leave(done)

    def leave(self, done: dict[str, Any]) -> None:
        """Send the run's last message.

        The tracepoints are closed after it, once the VMM has closed its own. With the last descriptor of an event the
        kernel removes its probe and waits until all processors have left it, tens of milliseconds for each event: here
        that keeps nobody waiting but the end of the VMM's process.
        """
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._tell({"done": done})
        while self._probes and self._channel.receive() is not None:
            pass
        self._channel.close()
        for descriptor in self._probes:
            os.close(descriptor)

    def _tell(self, values: dict[str, Any]) -> None:
        with suppress(OSError):  # the VMM was killed
            self._channel.send(values)

    def _receive(self) -> Message | None:
        """Return the next message that is not of rows; rows are kept."""
        while (message := self._channel.receive()) is not None:
            held = self._probes if "tracepoints" in message.values else self._descriptors
            held += message.descriptors
            if "rows" not in message.values:
                return message
            self._keep(*message.values["rows"])
        return None

    def _keep(self, table: str, rows: Iterable[Any]) -> None:
        if self._make is None:
            self._first.append((table, rows))
            return
        if table not in self._rows:
            self._rows[table] = self._make(table)
        for row in rows:
            self._rows[table].put(row)

    def _record(self, stack: ExitStack) -> dict[str, Any]:
        if self._early:
            import pyarrow  # noqa: F401

            self._tell({"ready": True})
        message = self._receive()
        path = ring_path(self._given)
        if not begun(self._ring, path):
            return self._discard()
        source = RingSource(self._ring, self._event, path)
        stack.callback(source.close)
        if message is not None and "tracepoints" in message.values:
            self._trace_points(message, source, stack)
            message = self._receive()
        if message is not None and "about" in message.values:
            self._about = message
        devices = json.loads(source.description())["devices"]
        recorder = Recorder(
            self._folder.way(self._given), source, lambda: self._metadata(source, devices), devices, self._failed
        )
        stack.callback(recorder.stop)
        recorder.start()
        self._record_rows(source, devices, stack)
        if self._requests_event:
            self._record_requests(source, devices, stack)
        if self._transfers_ring:
            self._record_transfers(source, devices, stack)
        if self._about is not None:
            message = self._receive()
        source.ended()
        if message is not None and "discard" in message.values:
            stack.close()
            return self._discard()
        notes = self._finish_tracepoints()
        recorder.finish(killed(source) if message is None else message.values["summary"] | source.account())
        try:
            for each in (*self._rows.values(), *self._tables):
                each.finish()
        finally:  # last: without it, all is closed
            ring_path(self._folder.way(self._given)).unlink(missing_ok=True)
        return {"path": str(self._folder.now(self._given)), **notes}

    def _trace_points(self, message: Message, source: RingSource, stack: ExitStack) -> None:
        clock = source.clock()
        rings = TracepointRings(message.values["tracepoints"], message.descriptors, clock)
        stack.callback(rings.close)
        metadata = {
            keys.CLOCK: json.dumps(clock),
            keys.EVENT_FORMATS: json.dumps(rings.described()),
        }
        recorder = TracepointRecorder(self._folder.way(self._given), rings, lambda: metadata, list(rings.formats))
        stack.callback(recorder.stop)
        recorder.start()
        self._events = rings, recorder

    def _record_rows(self, source: RingSource, devices: list[str], stack: ExitStack) -> None:
        def make(table: str) -> RowRecorder:
            clock = {keys.CLOCK: json.dumps(source.clock())}
            recorder = RowRecorder(self._folder.way(self._given), TABLES[table], devices, clock, self._failed)
            stack.callback(recorder.stop)
            recorder.start()
            return recorder

        self._make = make
        for table, rows in (*((table, ()) for table in self._with_rows), *self._first):
            self._keep(table, rows)

    def _record_requests(self, source: RingSource, devices: list[str], stack: ExitStack) -> None:
        requests = source.requests(*self._requests_event)
        metadata = _metadata(source, devices)
        self._begin(RequestRecorder(self._folder.way(self._given), requests, metadata, self._failed), stack)

    def _record_transfers(self, source: RingSource, devices: list[str], stack: ExitStack) -> None:
        from runner.recording.transfers import TransferSource  # late: few runs record them

        memory, event = self._transfers_ring
        transfers = TransferSource(memory, event, source.clock())
        stack.callback(transfers.close)
        metadata = _metadata(source, devices)
        self._begin(TransferRecorder(self._folder.way(self._given), transfers, metadata, self._failed), stack)

    def _begin(self, recorder: TableRecorder, stack: ExitStack) -> None:
        stack.callback(recorder.stop)
        recorder.start()
        self._tables.append(recorder)

    def _finish_tracepoints(self) -> dict[str, Any]:
        """Finish the second table, whether or not the trace itself failed."""
        if self._events is None:
            return {}
        rings, recorder = self._events
        recorder.stop()
        lost = rings.lost()
        try:
            recorder.finish({"lost": lost, "unknown": rings.unknown(), "isa": rings.isa})
        except TraceError as error:
            return {"tracepoints": self._folder.told(str(error))}
        if not sum(lost):
            return {}
        return {"notes": [f"{sum(lost)} tracepoint events were lost: their rings were full (trace.tracepoints)"]}

    def _discard(self) -> dict[str, Any]:
        for file in unfinished(self._given):
            self._folder.way(file).unlink(missing_ok=True)
        return {}

    def _failed(self, error: TraceError) -> None:
        self._tell({"failed": self._folder.told(str(error))})

    def _metadata(self, source: RingSource, devices: list[str]) -> dict[str, str]:
        """The trace's metadata. It also goes into the ring file, at once but without what takes long."""
        metadata = {keys.CLOCK: json.dumps(source.clock())}
        if self._about is None:
            return metadata
        told = self._about.values["about"]
        about, texts = kepttexts.told(told)
        metadata |= texts | {keys.STARTED: facts.started(self._about.values["started"])}
        if about["files"]:
            source.describe(json.dumps({"metadata": metadata, "devices": devices}).encode())
        images = facts.images(about, self._about.descriptors)
        metadata[keys.IMAGES] = json.dumps(images)
        files = lockfacts.files(about, images)
        metadata[keys.LOCK] = kepttexts.lock(told, tuple(files.items()), source.clock()["tsc_khz"])
        source.describe(json.dumps({"metadata": metadata, "devices": devices}).encode())
        return metadata


def _metadata(source: RingSource, devices: list[str]) -> dict[str, str]:
    """The metadata of a table beside the trace."""
    return {keys.CLOCK: json.dumps(source.clock()), keys.DEVICES: json.dumps(devices)}


def killed(source: RingSource) -> dict[str, Any]:
    """The closing summary of a run whose VMM was killed: everything published is there, KVM's counters are not."""
    return {"result": {"kind": KILLED, "status": None}, "duration_ns": source.length(), **source.account()}


def main() -> None:
    """Take runs until the VMM has gone and the last run is done."""
    # pyarrow imports numpy if it can, and needs it only to convert from and to numpy. That import costs twice as much
    # as pyarrow's own, and starts threads that spin for 0.1 s: on a host with few processors, a vCPU waits for them.
    sys.modules["numpy"] = None  # type: ignore[assignment]  # documented: import raises ModuleNotFoundError
    os.closerange(CHANNEL + 1, os.sysconf("SC_OPEN_MAX"))
    channel = Channel(socket.socket(fileno=CHANNEL))
    runs: list[Run] = []
    while (message := channel.receive()) is not None:
        runs = [run for run in runs if run.running]
        runs.append(Run(*message))
        try:
            runs[-1].start()
        except ThreadError as error:
            runs.pop().leave({"failed": f"the recorder cannot record: {error.strerror}"})
    for run in runs:
        run.wait()
    os._exit(0)  # the VMM waits, and nothing needs cleaning up


if __name__ == "__main__":
    main()
