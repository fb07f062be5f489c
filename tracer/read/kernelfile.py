"""The second table of a trace, the kernel's own events: its schema, its recorder and its reader.

``boot.kernel.arrows`` is the stream while running, ``boot.kernel.arrow`` the finished file, as for the trace itself.
Columns: :data:`vmspec.trace.tracepoints.COLUMNS`.
"""

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from tracer.format import closing
from tracer.format.errors import TraceError, reason
from tracer.format.rowfile import RowFile
from tracer.format.schema import KEY_FORMAT, texts
from tracer.read.metadata import read_json, read_summary
from tracer.record.rewrite import summary_metadata, write_file
from tracer.record.stream import StreamWriter
from vmspec.host.threads import Worker
from vmspec.trace.files import exists, kernel_path, kernel_stream_path
from vmspec.trace.tracepoints import COLUMNS, EXIT_NAMES

FORMAT = "kernel-1"  # never that of a trace: a reader of traces refuses this table, and the other way round
KEY_EVENTS = "vmrun.kernel.events"  # JSON list: names of the tracepoints; a code in `event` is an index into it
KEY_FORMATS = "vmrun.kernel.formats"  # JSON: the kernel's formats of them
KEY_CLOCK = "vmrun.clock"
TIME = "t"  # the column of the order

ROWS = 16384
INTERVAL = 0.5  # seconds between batches of a guest that exits rarely
WIDTHS = {"event": 1, "exit": 2, "uint16": 2, "int64": 8, "uint64": 8}


def kernel_schema(metadata: Mapping[str, str], events: Sequence[str]) -> Any:
    """The ``pyarrow.Schema`` of the second table: no nulls, units and meanings in the fields' metadata."""
    import pyarrow as pa

    types = {"event": pa.dictionary(pa.int8(), pa.utf8()), "exit": pa.dictionary(pa.int16(), pa.utf8())}
    fields = [
        pa.field(
            column.name,
            types.get(column.type) or pa.type_for_alias(column.type),
            nullable=False,
            metadata={"unit": column.unit, "doc": column.doc},
        )
        for column in COLUMNS
    ]
    return pa.schema(fields, metadata={**metadata, KEY_FORMAT: FORMAT, KEY_EVENTS: json.dumps(list(events))})


class KernelBuffers:
    """Room for ``rows`` rows, one writable buffer of little-endian values per column; codes: int8, of exit int16."""

    def __init__(self, rows: int = ROWS) -> None:
        self.rows = rows
        self.columns = {column.name: bytearray(rows * WIDTHS[column.type]) for column in COLUMNS}

    def batch(self, rows: int, schema: Any, names: Mapping[str, Any]) -> Any:
        """The first ``rows`` rows as a ``pyarrow.RecordBatch`` that shares the buffers' memory."""
        import pyarrow as pa

        arrays = []
        for field, column in zip(schema, COLUMNS, strict=True):
            values = pa.py_buffer(memoryview(self.columns[column.name])[: rows * WIDTHS[column.type]])
            if column.name in names:
                arrays.append(pa.DictionaryArray.from_buffers(field.type, rows, [None, values], names[column.name]))
            else:
                arrays.append(pa.Array.from_buffers(field.type, rows, [None, values]))
        return pa.RecordBatch.from_arrays(arrays, schema=schema)


def kernel_names(events: Sequence[str]) -> dict[str, Any]:
    """The dictionaries of the table."""
    return {"event": texts(tuple(events)), "exit": texts(EXIT_NAMES)}


def warm() -> None:
    """Import what the recorder needs, before the guest starts: loading a shared library keeps the interpreter from all
    other threads, on a slow disk for longer than the kernel's rings last."""
    import pyarrow  # noqa: F401


class KernelSource(Protocol):
    """The kernel's rings, as the recorder sees them."""

    def wait(self, seconds: float) -> None:
        """Return when a ring is a quarter full, when woken, or after ``seconds``."""

    def wake(self) -> None:
        """Let :meth:`wait` return now."""

    def tick(self) -> None:
        """Events until now may be drained."""

    def drain(self, buffers: KernelBuffers) -> int:
        """The next events of all vCPUs; returns how many."""


class KernelRecorder:
    """Writes a source's events to the stream beside ``path`` (the trace's), and at the end to the finished file.

    It never stops the guest: what does not fit in the kernel's rings is lost and counted; what cannot be written ends
    the recording of the kernel's events, which :meth:`finish` says.
    """

    def __init__(
        self, path: Path, source: KernelSource, metadata: Callable[[], Mapping[str, str]], events: Sequence[str]
    ) -> None:
        self.path = kernel_path(path)
        self.stream = kernel_stream_path(path)
        self.rows = 0
        self._source = source
        self._metadata = metadata
        self._events = list(events)
        self._stopping = threading.Event()
        self._failure: Exception | None = None
        self._schema: Any = None
        self._names: dict[str, Any] = {}
        self._sealed = False  # the stream is whole, with its summary
        self._written: StreamWriter | None = None
        self._thread = Worker("kernel-recorder", self._run)

    def start(self) -> None:
        """Start the thread; see :func:`warm`."""
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
            closing = KernelBuffers(0).batch(0, self._schema, self._names)
            assert self._written is not None
            if not self._sealed:
                self._written.write(closing, summary_metadata(summary))
                self._written.close()
                self._sealed = True
            write_file(self.path, self._written.batches, self._schema, summary, closing=closing, time=TIME)
            self.stream.unlink(missing_ok=True)
        except Exception as error:
            there = self._written is not None and self._written.there
            kept = f"what was written until then is in {self.stream}" if there else "they are lost"
            raise TraceError(f"cannot write the kernel's events, {self.path}: {reason(error)}; {kept}") from error
        return self.path

    def _run(self) -> None:
        try:
            self._schema = kernel_schema(self._metadata(), self._events)
            self._names = kernel_names(self._events)
            self._written = StreamWriter(self.stream, self._schema)
            buffers = KernelBuffers()
            stopping = False
            while not stopping:
                stopping = self._stopping.is_set()  # before the drain, which then is the last
                if not stopping:
                    self._source.wait(INTERVAL)
                self._source.tick()
                while rows := self._source.drain(buffers):
                    self._written.write(buffers.batch(rows, self._schema, self._names))
                    self.rows += rows
                    if rows < buffers.rows:
                        break
        except Exception as error:
            self._failure = error
            if self._written is not None:
                self._written.cut()


class KernelTable(RowFile):
    """The kernel's events of a run: rows in the order of t.

    ``events`` are the tracepoints that were on; ``summary`` is what the runner said at the end: ``lost`` (events that
    a ring had no room for, by vCPU), ``unknown`` (records not as the formats say), ``rows`` and ``isa`` (1 VMX, 2 SVM,
    0 not known); None for a run that has not ended, or was killed.
    """

    time = TIME

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.summary = None if self.closing is None else read_summary(path, self.closing, closing.KERNEL)

    def _accepted(self, schema: Any) -> Any:
        try:
            self.metadata = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
            self.events: list[str] = read_json(self.metadata.get(KEY_EVENTS, "null"))
        except ValueError as error:
            raise TraceError(f"{self.path}: the metadata is damaged: {error}") from error
        named = isinstance(self.events, list) and all(isinstance(name, str) for name in self.events)
        if self.metadata.get(KEY_FORMAT) != FORMAT or not named:
            raise TraceError(f"{self.path} is not a table of the kernel's events of format {FORMAT}")
        expected = kernel_schema(self.metadata, self.events)
        if not schema.equals(expected):
            raise TraceError(f"{self.path} does not have the columns of the kernel's events")
        return expected

    @property
    def complete(self) -> bool:
        """Whether the run ended and everything that was drained is here; lost events are in the summary."""
        return self.summary is not None and self.summary.get("complete", True) is True

    @property
    def lost(self) -> list[int]:
        """Events lost, by vCPU."""
        lost = (self.summary or {}).get("lost")
        return [number for number in lost if isinstance(number, int)] if isinstance(lost, list) else []


def finish_killed(path: Path, output: Path) -> KernelTable | None:
    """Write the finished table of the kernel's events that a killed run left in its stream beside ``path``, as that of
    the trace ``output``; None where it left none. Raises TraceError, OSError and ``pyarrow.ArrowException``."""
    stream = kernel_stream_path(path)
    if not exists(stream) or not stream.stat().st_size:
        return None
    left = KernelTable(stream)
    schema, names = kernel_schema(left.metadata, left.events), kernel_names(left.events)
    closing = KernelBuffers(0).batch(0, schema, names)
    summary = left.summary or {"complete": False}
    write_file(kernel_path(output), left.batches, schema, summary, closing=closing, time=TIME)
    return left


def beside(path: Path, clock: str) -> KernelTable | None:
    """The kernel's events of the run whose trace is at ``path``, told by the trace's clock; None where there are none.

    Raises TraceError where they are damaged.
    """
    for candidate in (kernel_path(path), kernel_stream_path(path)):
        if exists(candidate) and candidate.stat().st_size:
            table = KernelTable(candidate)
            if table.metadata.get(KEY_CLOCK) == clock:
                return table
    return None
