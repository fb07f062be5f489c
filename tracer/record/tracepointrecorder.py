"""The recorder of tracepoints, a table beside the exits."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from tracer.record.buffers import Buffers
from tracer.record.tablerecorder import INTERVAL, TableRecorder
from tracer.record.writer import TableWriter
from vmspec.trace import keys
from vmspec.trace.tracepoints import TRACEPOINTS


class TracepointSource(Protocol):
    """The kernel's rings, for the recorder."""

    def wait(self, seconds: float) -> None:
        """Return when a ring is a quarter full, when woken, or after ``seconds``."""

    def wake(self) -> None:
        """Let :meth:`wait` return now."""

    def tick(self) -> None:
        """Allow draining the events until now."""

    def drain(self, buffers: Buffers) -> int:
        """The next events of all vCPUs; returns their number."""


class TracepointRecorder(TableRecorder):
    """Writes a source's events.

    It never stops the guest. Events that do not fit in the kernel's rings are lost and counted. An error in writing
    ends the recording of the tracepoints; :meth:`finish` reports it. Its thread imports pyarrow, which takes longer
    than the kernel's rings last, unless it is imported before.
    """

    def __init__(
        self, path: Path, source: TracepointSource, metadata: Callable[[], Mapping[str, str]], events: Sequence[str]
    ) -> None:
        super().__init__(path, TRACEPOINTS)
        self._source = source
        self._given = metadata
        self._events = list(events)

    def metadata(self) -> Mapping[str, str]:
        return {**self._given(), keys.EVENTS: json.dumps(self._events)}

    def wake(self) -> None:
        self._source.wake()

    def record(self, writer: TableWriter) -> None:
        buffers = Buffers(TRACEPOINTS)
        stopping = False
        while not stopping:
            stopping = self._stopping.is_set()  # before the drain, which is then the last
            if not stopping:
                self._source.wait(INTERVAL)
            self._source.tick()
            while rows := self._source.drain(buffers):
                writer.write(buffers, rows)
                if rows < buffers.rows:
                    break
