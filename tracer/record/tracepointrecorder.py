"""The recorder of tracepoints, a table beside the exits."""

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from tracer.format.errors import TraceError, reason
from tracer.record.buffers import Buffers
from tracer.record.writer import TableWriter
from vmspec.host.threads import Worker
from vmspec.trace.files import table_path, table_stream_path
from vmspec.trace.tracepoints import NAMES, TRACEPOINTS

INTERVAL = 0.5  # seconds between batches of a guest that exits rarely


class TracepointSource(Protocol):
    """The kernel's rings, as the recorder sees them."""

    def wait(self, seconds: float) -> None:
        """Return when a ring is a quarter full, when woken, or after ``seconds``."""

    def wake(self) -> None:
        """Let :meth:`wait` return now."""

    def tick(self) -> None:
        """Events until now may be drained."""

    def drain(self, buffers: Buffers) -> int:
        """The next events of all vCPUs; returns how many."""


class TracepointRecorder:
    """Writes a source's events to the stream beside ``path`` (the trace's), and at the end to the finished file.

    It never stops the guest: what does not fit in the kernel's rings is lost and counted; what cannot be written ends
    the recording of the tracepoints, which :meth:`finish` says.
    """

    def __init__(
        self, path: Path, source: TracepointSource, metadata: Callable[[], Mapping[str, str]], events: Sequence[str]
    ) -> None:
        self.path = table_path(path, TRACEPOINTS.name)
        self.stream = table_stream_path(path, TRACEPOINTS.name)
        self._trace = path
        self._source = source
        self._metadata = metadata
        self._events = list(events)
        self._stopping = threading.Event()
        self._failure: Exception | None = None
        self._written: TableWriter | None = None
        self._thread = Worker("tracepoint-recorder", self._run)

    @property
    def rows(self) -> int:
        """How many have been written."""
        return self._written.rows if self._written is not None else 0

    def start(self) -> None:
        """Start the thread. It imports pyarrow, for longer than the kernel's rings last, unless that is done before."""
        self._thread.start()

    def stop(self) -> None:
        """Let the thread drain what is left, and wait for it: the source is not used after this."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._source.wake()
            self._thread.outlast()

    def finish(self, summary: dict[str, Any]) -> Path:
        """Close the stream with ``summary`` and write the finished file; returns its path. No vCPU runs any more.

        Raises TraceError, which says what was kept, when any of it could not be written, now or earlier."""
        if self._thread.ident is None:
            self._thread.start()
        self.stop()
        try:
            if self._failure is not None:
                raise self._failure
            assert self._written is not None
            self._written.finish(summary)
        except Exception as error:
            there = self._written is not None and self._written.there
            kept = f"what was written until then is in {self.stream}" if there else "they are lost"
            raise TraceError(f"cannot write the tracepoints, {self.path}: {reason(error)}; {kept}") from error
        return self.path

    def _run(self) -> None:
        try:
            self._written = TableWriter(self._trace, TRACEPOINTS, {**self._metadata(), NAMES: json.dumps(self._events)})
            buffers = Buffers(TRACEPOINTS)
            stopping = False
            while not stopping:
                stopping = self._stopping.is_set()  # before the drain, which then is the last
                if not stopping:
                    self._source.wait(INTERVAL)
                self._source.tick()
                while rows := self._source.drain(buffers):
                    self._written.write(buffers, rows)
                    if rows < buffers.rows:
                        break
        except Exception as error:
            self._failure = error
            if self._written is not None:
                self._written.cut()
