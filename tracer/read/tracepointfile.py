"""The second table of a trace, KVM's tracepoints: its schema, its recorder and its reader.

``boot.tracepoints.arrows`` is the stream while the machine runs, ``boot.tracepoints.arrow`` the finished file, as for
the trace itself. Columns: :data:`vmspec.trace.tracepoints.COLUMNS`.
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
from vmspec.trace.files import exists, tracepoint_files, tracepoints_path, tracepoints_stream_path
from vmspec.trace.tracepoints import COLUMNS, EXIT_NAMES

FORMAT = "tracepoints-1"  # never that of a trace: a reader of traces refuses this table, and the other way round
KEY_EVENTS = "vmrun.tracepoints.events"  # JSON list: names of the tracepoints; a code in `event` is an index into it
# The format of before: the same table, with other words in its metadata.
FORMER = "kernel-1"
FORMER_KEYS = {"vmrun.kernel.events": KEY_EVENTS, "vmrun.kernel.formats": "vmrun.tracepoints.formats"}
KEY_CLOCK = "vmrun.clock"
TIME = "t"  # the column of the order

ROWS = 16384
INTERVAL = 0.5  # seconds between batches of a guest that exits rarely
WIDTHS = {"event": 1, "exit": 2, "uint16": 2, "int64": 8, "uint64": 8}


def tracepoint_schema(metadata: Mapping[str, str], events: Sequence[str]) -> Any:
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


class TracepointBuffers:
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


def tracepoint_names(events: Sequence[str]) -> dict[str, Any]:
    """The dictionaries of the table."""
    return {"event": texts(tuple(events)), "exit": texts(EXIT_NAMES)}


def _current(metadata: Mapping[str, str]) -> dict[str, str]:
    """The metadata of a table in the words of this release."""
    if metadata.get(KEY_FORMAT) != FORMER:
        return dict(metadata)
    return {FORMER_KEYS.get(key, key): value for key, value in metadata.items()} | {KEY_FORMAT: FORMAT}


def warm() -> None:
    """Import what the recorder needs, before the guest starts: loading a shared library keeps the interpreter from all
    other threads, on a slow disk for longer than the kernel's rings last."""
    import pyarrow  # noqa: F401


class TracepointSource(Protocol):
    """The kernel's rings, as the recorder sees them."""

    def wait(self, seconds: float) -> None:
        """Return when a ring is a quarter full, when woken, or after ``seconds``."""

    def wake(self) -> None:
        """Let :meth:`wait` return now."""

    def tick(self) -> None:
        """Events until now may be drained."""

    def drain(self, buffers: TracepointBuffers) -> int:
        """The next events of all vCPUs; returns how many."""


class TracepointRecorder:
    """Writes a source's events to the stream beside ``path`` (the trace's), and at the end to the finished file.

    It never stops the guest: what does not fit in the kernel's rings is lost and counted; what cannot be written ends
    the recording of tracepoints, which :meth:`finish` says.
    """

    def __init__(
        self, path: Path, source: TracepointSource, metadata: Callable[[], Mapping[str, str]], events: Sequence[str]
    ) -> None:
        self.path = tracepoints_path(path)
        self.stream = tracepoints_stream_path(path)
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
        self._thread = Worker("tracepoint-recorder", self._run)

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
            closing = TracepointBuffers(0).batch(0, self._schema, self._names)
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
            raise TraceError(f"cannot write the tracepoints, {self.path}: {reason(error)}; {kept}") from error
        return self.path

    def _run(self) -> None:
        try:
            self._schema = tracepoint_schema(self._metadata(), self._events)
            self._names = tracepoint_names(self._events)
            self._written = StreamWriter(self.stream, self._schema)
            buffers = TracepointBuffers()
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


class TracepointTable(RowFile):
    """The tracepoints of a run: rows in the order of t.

    ``events`` are the tracepoints that were on; ``summary`` is what the runner said at the end: ``lost`` (events that
    a ring had no room for, by vCPU), ``unknown`` (records not as the formats say), ``rows`` and ``isa`` (1 VMX, 2 SVM,
    0 not known); None for a run that has not ended, or was killed.
    """

    time = TIME

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.summary = None if self.closing is None else read_summary(path, self.closing, closing.TRACEPOINTS)

    def _accepted(self, schema: Any) -> Any:
        try:
            self.metadata = _current({key.decode(): value.decode() for key, value in (schema.metadata or {}).items()})
            self.events: list[str] = read_json(self.metadata.get(KEY_EVENTS, "null"))
        except ValueError as error:
            raise TraceError(f"{self.path}: the metadata is damaged: {error}") from error
        named = isinstance(self.events, list) and all(isinstance(name, str) for name in self.events)
        if self.metadata.get(KEY_FORMAT) != FORMAT or not named:
            raise TraceError(f"{self.path} is not a table of tracepoints of format {FORMAT}")
        expected = tracepoint_schema(self.metadata, self.events)
        if not schema.equals(expected):
            raise TraceError(f"{self.path} does not have the columns of the tracepoints")
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


def finish_killed(path: Path, output: Path) -> TracepointTable | None:
    """Write the finished table of the tracepoints that a killed run left in its stream beside ``path``, as that of
    the trace ``output``; None where it left none. Raises TraceError, OSError and ``pyarrow.ArrowException``."""
    stream = next(filter(_written, tracepoint_streams(path)), None)
    if stream is None:
        return None
    left = TracepointTable(stream)
    schema, names = tracepoint_schema(left.metadata, left.events), tracepoint_names(left.events)
    closing = TracepointBuffers(0).batch(0, schema, names)
    summary = left.summary or {"complete": False}
    write_file(tracepoints_path(output), left.batches, schema, summary, closing=closing, time=TIME)
    return left


def beside(path: Path, clock: str) -> TracepointTable | None:
    """The tracepoints of the run whose trace is at ``path``, told by the trace's clock; None where there are none.

    Raises TraceError where they are damaged.
    """
    for candidate in filter(_written, tracepoint_files(path)):
        table = TracepointTable(candidate)
        if table.metadata.get(KEY_CLOCK) == clock:
            return table
    return None


def tracepoint_streams(path: Path) -> tuple[Path, ...]:
    """The streams in which a killed run may have left its tracepoints, that with the former name last."""
    return tuple(file for file in tracepoint_files(path) if file.suffix == ".arrows")


def _written(file: Path) -> bool:
    return exists(file) and file.stat().st_size > 0
