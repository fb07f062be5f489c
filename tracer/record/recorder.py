"""The recorder: a thread that drains the rings into an Arrow stream, and at the end writes the finished file.

A short run, whose rows fit in one batch, has no stream: its file is written from the rings, which keep the rows until
it is on disk.
"""

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from tracer.format.errors import TraceError, reason
from tracer.record.buffers import Buffers
from tracer.record.writer import TableWriter
from vmspec.host.threads import Worker
from vmspec.trace import keys
from vmspec.trace.files import RingLostError, ring_path, stream_path
from vmspec.trace.record import EXITS

BUSY = 8192  # rows of a drain after which more may be waiting: a ring signals only once that it is filling
INTERVAL = 1.0  # seconds between batches of a guest that exits rarely
FEW, FEW_BYTES = 2048, 1 << 17  # rows and bytes of a short run: making larger buffers takes half a millisecond
SHORT = 0.1  # seconds; the stream of a longer run can be followed from then on


class Source(Protocol):
    """The rings, for the recorder."""

    def wait(self, seconds: float) -> None:
        """Return when a ring is a quarter full, when woken, or after ``seconds``."""

    def wake(self) -> None:
        """Let :meth:`wait` return now, or at its next call."""

    def drain(self, buffers: Buffers) -> int:
        """Merge up to ``buffers.rows`` records of all rings in the order of t_exit; returns how many."""

    def commit(self) -> None:
        """The drained rows are in the file now: free their room in the rings."""


class Recorder:
    """Writes a source's rows to the stream beside ``path``, and at the end to ``path``.

    ``metadata`` returns the schema's metadata. It is called once, in the recorder's thread, so it may take its time.
    ``failed`` is called once, in the recorder's thread, when the stream can no longer be written. The rows recorded so
    far stay in the stream and the ring file, for ``vmtrace recover``.
    """

    def __init__(
        self,
        path: Path,
        source: Source,
        metadata: Callable[[], Mapping[str, str]],
        devices: Sequence[str],
        failed: Callable[[TraceError], None],
    ) -> None:
        self.path = path
        self.stream = stream_path(path)
        self._source = source
        self._metadata = metadata
        self._devices = devices
        self._failed = failed
        self._stopping = threading.Event()
        self._failure: TraceError | None = None
        self._thread = Worker("recorder", self._run)
        self._written: TableWriter | None = None
        self._unwritten: tuple[Buffers, int] | None = None  # all rows of a short run, drained but not committed

    def start(self) -> None:
        """Start the thread. It imports pyarrow, so the caller should start the guest first."""
        self._thread.start()

    def finish(self, summary: dict[str, Any]) -> Path:
        """Drain the rest, close the stream with ``summary`` and write the finished file; return its path.

        The vCPU threads have stopped. It may be called again after an interruption. The stream is deleted once the file
        is on disk. Raises TraceError, which says what was kept, if any of it could not be written, now or earlier.
        """
        if self._thread.ident is None:
            self._thread.start()  # the run was interrupted before it had begun
        self.stop()
        if self._finished_at_once(summary):
            return self.path
        if self._failure is None:
            try:
                assert self._written is not None
                self._written.seal(summary)
            except Exception as error:
                self._failure = self._cut(error)
        if self._failure is not None:
            raise self._failure
        try:
            assert self._written is not None
            self._written.finish(summary)
        except Exception as error:
            kept = f"{self.stream} was deleted: the trace is lost"
            if self._written is not None and self._written.there:
                kept = (
                    f"{self.stream} holds the whole trace and can be read as it is, or finished with: "
                    f"vmtrace recover {self.stream} --output FILE"
                )
            raise TraceError(f"cannot write {self.path}: {reason(error)}; {kept}") from error
        return self.path

    def _finished_at_once(self, summary: dict[str, Any]) -> bool:
        """Write the file of a short run. If that fails, its rows are written to a stream like those of others."""
        if self._unwritten is None:
            return False
        assert self._written is not None
        (buffers, rows), self._unwritten = self._unwritten, None
        try:
            self._written.finish_at_once(buffers, rows, summary)
        except Exception:  # any error: it comes again, and is reported, when the stream is rewritten
            try:
                self._written.open()
                self._write(self._written, buffers, rows)
            except Exception as error:
                self._fail(error)
            return False
        self._source.commit()
        return True

    def stop(self) -> None:
        """Let the thread drain the rest, and wait for it: the source is not used after this."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._source.wake()
            self._thread.outlast()

    def _run(self) -> None:
        try:
            metadata = self._metadata()  # before the long import: it also goes into the ring file
            metadata = {**metadata, keys.DEVICES: json.dumps(list(self._devices))}
            self._written = TableWriter(self.path, EXITS, metadata)
            self._drain(self._written)
        except Exception as error:  # any error: a guest must not run on unrecorded
            self._fail(error)

    def _drain(self, writer: TableWriter) -> None:
        buffers = Buffers(EXITS, FEW, FEW_BYTES)
        self._source.wait(SHORT)
        stopping = self._stopping.is_set()
        rows = self._source.drain(buffers)
        if stopping and not buffers.full(rows):
            self._unwritten = buffers, rows
            return
        writer.open()
        self._write(writer, buffers, rows)
        buffers = Buffers(EXITS)
        rows = self._source.drain(buffers)
        while True:
            while rows:
                self._write(writer, buffers, rows)
                rows = self._source.drain(buffers) if stopping or rows >= BUSY or buffers.full(rows) else 0
            if stopping:
                return
            self._source.wait(INTERVAL)
            stopping = self._stopping.is_set()  # before the drain: the last one drains what comes after the event
            rows = self._source.drain(buffers)

    def _write(self, writer: TableWriter, buffers: Buffers, rows: int) -> None:
        if rows:
            writer.write(buffers, rows)
            self._source.commit()

    def _fail(self, error: Exception) -> None:
        self._failure = self._cut(error)
        self._failed(self._failure)

    def _cut(self, error: Exception) -> TraceError:
        """Close the stream and cut off a partly written batch, so that it stays readable."""
        kept = "nothing was written"
        if self._written is not None and self._written.begun:
            self._written.cut()
            if not self._written.there:
                return TraceError(
                    f"cannot write {self.stream}: {reason(error)}; it is no longer there, somebody has deleted it: "
                    "the trace is lost"
                )
            kept = f"the rows written so far are kept in {self.stream}"
        if isinstance(error, RingLostError):
            return TraceError(f"{error}; {kept}")
        return TraceError(
            f"cannot write {self.stream}: {reason(error)}; {kept}, the rest is in {ring_path(self.path)}; "
            f"join them with: vmtrace recover {self.path} --output FILE (where there is room)"
        )
