"""The recorder of a table beside the exits: a thread with a writer, from its start to the finished file."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tracer.format.errors import TraceError, reason
from tracer.record.writer import TableWriter
from vmspec.host.threads import Worker
from vmspec.trace.files import table_path, table_stream_path
from vmspec.trace.table import Table

INTERVAL = 0.5  # seconds between batches


class TableRecorder:
    """Writes a table's rows to the stream beside ``trace``, and at the end to the finished file.

    A subclass has ``metadata``, which may take its time, and ``record``; it may have ``failed``. All are called in the
    recorder's thread.
    """

    def __init__(self, trace: Path, table: Table) -> None:
        self.path = table_path(trace, table.name)
        self.stream = table_stream_path(trace, table.name)
        self._trace, self._table = trace, table
        self._stopping = threading.Event()
        self._failure: Exception | None = None
        self._written: TableWriter | None = None
        self._thread = Worker(f"{table.name}-recorder", self._run)

    @property
    def rows(self) -> int:
        """The number of rows written."""
        return self._written.rows if self._written is not None else 0

    def metadata(self) -> Mapping[str, str]:
        """The metadata of the table."""
        raise NotImplementedError

    def record(self, writer: TableWriter) -> None:
        """Write rows until there will be no more, when ``self._stopping`` is set."""
        raise NotImplementedError

    def failed(self, error: TraceError) -> None:
        """The table can no longer be written."""

    def wake(self) -> None:
        """Make :meth:`record` check ``self._stopping``."""

    def start(self) -> None:
        """Start the thread. It imports pyarrow."""
        self._thread.start()

    def stop(self) -> None:
        """Let the thread write the rest, and wait for it."""
        self._stopping.set()
        if self._thread.ident is not None:
            self.wake()
            self._thread.outlast()

    def finish(self, summary: Mapping[str, Any] | None = None) -> Path:
        """Close the stream with ``summary`` and the number of rows, and write the finished file; return its path.

        Raises TraceError, which says what was kept, if any of it could not be written, now or earlier.
        """
        if self._thread.ident is None:
            self._thread.start()
        self.stop()
        try:
            if self._failure is not None:
                raise self._failure
            assert self._written is not None
            return self._written.finish({"rows": self.rows, **(summary or {})})
        except Exception as error:
            raise self._error(error) from error

    def _error(self, error: Exception) -> TraceError:
        there = self._written is not None and self._written.there
        kept = f"the rows written so far are in {self.stream}" if there else "they are lost"
        return TraceError(f"cannot write the {self._table.name}, {self.path}: {reason(error)}; {kept}")

    def _run(self) -> None:
        try:
            self._written = TableWriter(self._trace, self._table, self.metadata())
            self._written.open()
            self.record(self._written)
        except Exception as error:
            self._failure = error
            if self._written is not None:
                self._written.cut()
            self.failed(self._error(error))
