"""The recorder of a table of rows that come one by one, beside the exits: inputs, outputs."""

import json
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tracer.format.errors import TraceError
from tracer.record.tablerecorder import INTERVAL, TableRecorder
from tracer.record.writer import TableWriter
from vmspec.trace import keys
from vmspec.trace.record import NO_DEVICE
from vmspec.trace.table import Table

BATCH_BYTES = 4 << 20  # of data; readers reject larger batches
WAITING = 16 << 20  # bytes of rows that wait to be written; whoever has more waits too
ROW = 200  # bytes of a row without its data


class RowRecorder(TableRecorder):
    """Writes the rows every half a second: named tuples with the table's columns, a device by its index.

    ``failed`` is called, in the recorder's thread, when they can no longer be written.
    """

    def __init__(
        self,
        trace: Path,
        table: Table,
        devices: Sequence[str],
        metadata: Mapping[str, str],
        failed: Callable[[TraceError], None],
    ) -> None:
        super().__init__(trace, table)
        self._devices = list(devices)
        self._given, self._told = metadata, failed
        self._waiting: deque[Any] = deque()
        self._size = 0  # bytes of the rows that wait, by the lock of the next
        self._changed = threading.Condition()
        self._over = False  # nothing is written any more

    def put(self, row: Any) -> None:
        """Have a row written; waits while too many wait already."""
        with self._changed:
            if self._over:
                return
            self._size += ROW + len(row.data)
            self._waiting.append(row)
            if self._size > WAITING:
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._size <= WAITING or self._over)

    def wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def metadata(self) -> Mapping[str, str]:
        return {**self._given, keys.DEVICES: json.dumps(self._devices)}

    def record(self, writer: TableWriter) -> None:
        stopping = False
        while not stopping:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping.is_set() or self._size > WAITING, INTERVAL)
            stopping = self._stopping.is_set()  # before the rows, which are then the last
            for rows in self._batches():
                writer.append(rows)

    def failed(self, error: TraceError) -> None:
        with self._changed:
            self._over = True
            self._waiting.clear()
            self._changed.notify_all()
        self._told(error)

    def _batches(self) -> Iterator[list[dict[str, Any]]]:
        """What waits now, in batches."""
        rows: list[dict[str, Any]] = []
        size = 0
        for _ in range(len(self._waiting)):
            rows.append(self._named(self._waiting.popleft()))
            size += ROW + len(rows[-1]["data"])
            if size >= BATCH_BYTES:
                yield rows
                self._wrote(size)
                rows, size = [], 0
        if rows:
            yield rows
            self._wrote(size)

    def _wrote(self, size: int) -> None:
        with self._changed:
            self._size -= size
            self._changed.notify_all()

    def _named(self, row: Any) -> dict[str, Any]:
        device = self._devices[row.device] if row.device >= 0 else NO_DEVICE
        return {**row._asdict(), "device": device}
