"""The recorder's program, started by :mod:`runner.recording.process`: it drains the rings of runs into their traces.

Each run is a thread. The VMM hands it over by a message on the channel of the process, with descriptors; more comes on
the run's own channel: what the trace is to say of it (``about``), inputs as they come in (``inputs``), and at its end
the closing summary (``summary``), or that there was no run after all (``discard``). A channel that ends before is that
of a VMM that was killed: its vCPUs are dead, what they had published is drained, and the trace is closed with the end
"killed". The VMM hears that recording has failed (``failed``), and last what has become of the trace (``done``).
"""

import json
import os
import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from runner.recording import facts
from runner.recording.channel import Channel, Message
from runner.recording.process import CHANNEL
from runner.recording.source import RingSource
from tracer.format.closing import KILLED
from tracer.format.errors import TraceError
from tracer.record.inputrecorder import InputRecorder
from tracer.record.recorder import Recorder
from vmspec.host.folder import Folder
from vmspec.host.threads import ThreadError, Worker
from vmspec.trace.files import RingLostError, ring_path, unfinished
from vmspec.trace.inputs import Input


class Run(Worker):
    """One run. ``values`` and ``descriptors`` are those of :meth:`runner.session.recording.Recording.start`."""

    def __init__(self, values: dict[str, Any], descriptors: list[int]) -> None:
        super().__init__("run")
        end, self._ring, self._event, folder = descriptors
        self._descriptors = descriptors[1:]
        self._channel = Channel(socket.socket(fileno=end))
        self._given = Path(values["path"])
        self._with_inputs: bool = values["inputs"]
        self._inputs: InputRecorder | None = None
        self._folder = Folder(self._given, folder)

    def work(self) -> None:
        """Record, and say what has become of it: whatever that is, the VMM must not wait in vain."""
        try:
            done = self._record()
        except (TraceError, RingLostError) as error:
            done = {"failed": self._folder.told(str(error))}
        except Exception as error:
            done = {"failed": f"the recorder failed: {error!r}"}
        self.leave(done)

    def leave(self, done: dict[str, Any]) -> None:
        """The run's last message."""
        self._tell({"done": done})
        self._channel.close()
        for descriptor in self._descriptors:
            os.close(descriptor)

    def _tell(self, values: dict[str, Any]) -> None:
        with suppress(OSError):  # who was killed needs to know nothing
            self._channel.send(values)

    def _receive(self) -> Message | None:
        message = self._channel.receive()
        if message is not None:
            self._descriptors += message.descriptors
        return message

    def _record(self) -> dict[str, Any]:
        source = RingSource(self._ring, self._event, ring_path(self._given))
        try:
            early: list[Input] = []  # before the VMM has said what the trace is of
            while (first := self._receive()) is not None and "inputs" in first.values:
                early += first.values["inputs"]
            last = first
            path = self._folder.way(self._given)
            devices = json.loads(source.description())["devices"]
            recorder = Recorder(path, source, lambda: self._metadata(source, first), devices, self._failed)
            recorder.start()
            if self._with_inputs:
                clock = {"vmrun.clock": json.dumps(source.clock())}
                self._inputs = InputRecorder(path, devices, clock, self._failed)
                self._keep(early)
                self._inputs.start()
            try:
                while last is not None and not last.values.keys() & {"summary", "discard"}:
                    self._keep(last.values.get("inputs", ()))
                    last = self._receive()
                source.ended()
                return self._finish(recorder, source, last)
            finally:
                recorder.stop()
                self._stop_inputs()
        finally:
            source.close()

    def _keep(self, rows: Iterable[Input]) -> None:
        if self._inputs is not None:
            for row in rows:
                self._inputs.put(row)

    def _finish(self, recorder: Recorder, source: RingSource, last: Message | None) -> dict[str, Any]:
        if last is not None and "discard" in last.values:
            recorder.stop()
            self._stop_inputs()
            for file in unfinished(self._given):
                self._folder.way(file).unlink(missing_ok=True)
        else:
            recorder.finish(killed(source) if last is None else last.values["summary"] | source.account())
            if self._inputs is not None:
                self._inputs.finish()
        return {"path": str(self._folder.now(self._given))}

    def _stop_inputs(self) -> None:
        if self._inputs is not None:
            self._inputs.stop()

    def _failed(self, error: TraceError) -> None:
        self._tell({"failed": self._folder.told(str(error))})

    def _metadata(self, source: RingSource, first: Message | None) -> dict[str, str]:
        """The trace's metadata, which also goes into the ring file, at once without what takes long."""
        about = first.values.get("about") if first is not None else None
        metadata = {"vmrun.clock": json.dumps(source.clock())}
        if about is None or first is None:
            return metadata
        devices = json.loads(source.description())["devices"]
        metadata |= facts.metadata(about)
        source.describe(json.dumps({"metadata": metadata, "devices": devices}).encode())
        metadata["vmrun.images"] = json.dumps(facts.images(about, first.descriptors))
        source.describe(json.dumps({"metadata": metadata, "devices": devices}).encode())
        return metadata


def killed(source: RingSource) -> dict[str, Any]:
    """The closing summary of a run whose VMM was killed: all that was published is there, KVM's counters are not."""
    return {"result": {"kind": KILLED, "status": None}, "duration_ns": source.length(), **source.account()}


def main() -> None:
    """Take runs until the VMM has gone and the last of them is done."""
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
    os._exit(0)  # the VMM waits, and there is nothing to be tidied up


if __name__ == "__main__":
    main()
