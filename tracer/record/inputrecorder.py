"""The recorder of inputs, a table beside the exits."""

import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tracer.format.errors import TraceError
from tracer.record.tablerecorder import INTERVAL, TableRecorder
from tracer.record.writer import TableWriter
from vmspec.trace import keys
from vmspec.trace.inputs import INPUTS, Input
from vmspec.trace.record import NO_DEVICE


class InputRecorder(TableRecorder):
    """Writes the inputs every half a second.

    ``failed`` is called, in the recorder's thread, when they can no longer be written.
    """

    def __init__(
        self,
        trace: Path,
        devices: Sequence[str],
        metadata: Mapping[str, str],
        failed: Callable[[TraceError], None],
    ) -> None:
        super().__init__(trace, INPUTS)
        self._devices = list(devices)
        self._given, self._told = metadata, failed
        self._waiting: deque[Input] = deque()

    def put(self, row: Input) -> None:
        """Have a row written; returns at once."""
        self._waiting.append(row)

    def metadata(self) -> Mapping[str, str]:
        return {**self._given, keys.DEVICES: json.dumps(self._devices)}

    def record(self, writer: TableWriter) -> None:
        stopping = False
        while not stopping:
            stopping = self._stopping.wait(INTERVAL)
            rows = [self._named(self._waiting.popleft()) for _ in range(len(self._waiting))]
            if rows:
                writer.append(rows)

    def failed(self, error: TraceError) -> None:
        self._told(error)

    def _named(self, row: Input) -> dict[str, int | str | bytes]:
        device = self._devices[row.device] if row.device >= 0 else NO_DEVICE
        return {**row._asdict(), "device": device}
