"""The recorder of inputs, a table beside the exits."""

import json
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tracer.format.errors import TraceError, reason
from tracer.record.writer import TableWriter
from vmspec.host.threads import Worker
from vmspec.trace.files import table_path, table_stream_path
from vmspec.trace.inputs import INPUTS, Input
from vmspec.trace.record import DEVICES, NO_DEVICE

INTERVAL = 0.5  # seconds between batches


class InputRecorder:
    """Writes inputs to the stream beside ``trace`` every half a second, and at the end to the finished file.

    ``failed`` is called, in the recorder's thread, when they cannot be written any more.
    """

    def __init__(
        self,
        trace: Path,
        devices: Sequence[str],
        metadata: Mapping[str, str],
        failed: Callable[[TraceError], None],
    ) -> None:
        self.path = table_path(trace, INPUTS.name)
        self.stream = table_stream_path(trace, INPUTS.name)
        self._trace = trace
        self._devices = list(devices)
        self._metadata, self._failed = metadata, failed
        self._waiting: deque[Input] = deque()
        self._stopping = threading.Event()
        self._failure: Exception | None = None
        self._written: TableWriter | None = None
        self._thread = Worker("input-recorder", self._run)

    def put(self, row: Input) -> None:
        """Have a row written; it returns at once."""
        self._waiting.append(row)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Let the thread write what is left, and wait for it."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.outlast()

    def finish(self) -> Path:
        """Write the finished file; returns its path. Raises TraceError when any of it could not be written."""
        if self._thread.ident is None:
            self._thread.start()
        self.stop()
        try:
            if self._failure is not None:
                raise self._failure
            assert self._written is not None
            return self._written.finish({"rows": self._written.rows})
        except Exception as error:
            raise self._error(error) from error

    def _error(self, error: Exception) -> TraceError:
        there = self._written is not None and self._written.there
        kept = f"what was written until then is in {self.stream}" if there else "they are lost"
        return TraceError(f"cannot write the inputs, {self.path}: {reason(error)}; {kept}")

    def _run(self) -> None:
        try:
            devices = json.dumps(self._devices)
            self._written = TableWriter(self._trace, INPUTS, {**self._metadata, DEVICES: devices})
            stopping = False
            while not stopping:
                stopping = self._stopping.wait(INTERVAL)
                rows = [self._named(self._waiting.popleft()) for _ in range(len(self._waiting))]
                if rows:
                    self._written.append(rows)
        except Exception as error:
            self._failure = error
            if self._written is not None:
                self._written.cut()
            self._failed(self._error(error))

    def _named(self, row: Input) -> dict[str, int | str | bytes]:
        device = self._devices[row.device] if row.device >= 0 else NO_DEVICE
        return {**row._asdict(), "device": device}
