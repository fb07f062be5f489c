"""The recorder of a table that has a ring of its own."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from tracer.format.errors import TraceError
from tracer.record.buffers import Buffers
from tracer.record.tablerecorder import INTERVAL, TableRecorder
from tracer.record.writer import TableWriter
from vmspec.trace.table import Table


class RingSource(Protocol):
    """The ring, for the recorder."""

    @property
    def dropped(self) -> int:
        """How many were dropped because the ring was full."""

    def wait(self, seconds: float) -> None:
        """Return when the ring is a quarter full, when woken, or after ``seconds``."""

    def wake(self) -> None:
        """Let :meth:`wait` return now, or at its next call."""

    def drain(self, buffers: Buffers) -> int:
        """The next rows, in the table's order; returns their number."""

    def commit(self) -> None:
        """The drained rows are in the file now: free their room in the ring."""


class RingRecorder(TableRecorder):
    """Writes a source's rows.

    ``failed`` is called, in the recorder's thread, when they can no longer be written.
    """

    def __init__(
        self,
        trace: Path,
        table: Table,
        source: RingSource,
        metadata: Mapping[str, str],
        failed: Callable[[TraceError], None],
    ) -> None:
        super().__init__(trace, table)
        self._source = source
        self._given, self._told = metadata, failed

    def metadata(self) -> Mapping[str, str]:
        return self._given

    def wake(self) -> None:
        self._source.wake()

    def record(self, writer: TableWriter) -> None:
        buffers = Buffers(self._table)
        stopping = False
        while not stopping:
            stopping = self._stopping.is_set()  # before the drain, which is then the last
            if not stopping:
                self._source.wait(INTERVAL)
            while rows := self._source.drain(buffers):
                writer.write(buffers, rows)
                self._source.commit()
                if not buffers.full(rows):
                    break

    def failed(self, error: TraceError) -> None:
        self._told(error)
