"""One table of a run while it is recorded: the stream beside the trace, and at the end the finished file."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tracer.format.schema import names_of, schema_of
from tracer.record.buffers import Buffers
from tracer.record.rewrite import empty, summary_metadata, write_file
from tracer.record.stream import StreamWriter
from vmspec.trace.files import table_path, table_stream_path
from vmspec.trace.table import Table


class TableWriter:
    """Appends rows of a table to the stream beside ``trace``; :meth:`finish` makes the finished file from it.
    :meth:`finish_at_once` needs no stream. The stream is made by :meth:`open`, or when the first row is written.

    ``metadata`` has the texts of the schema's metadata, with the names that the table's columns need
    (:attr:`vmspec.trace.table.Table.keys`). All methods raise OSError and ``pyarrow.ArrowException``.
    """

    def __init__(self, trace: Path, table: Table, metadata: Mapping[str, str]) -> None:
        self.table = table
        self.path = table_path(trace, table.name)
        self.stream = table_stream_path(trace, table.name)
        self.rows = 0
        self.schema = schema_of(table, metadata)
        self._names = names_of(table, metadata)
        self._codes: dict[str, dict[str, int]] | None = None
        self._stream: StreamWriter | None = None
        self._sealed = False  # the stream is whole, with its summary

    def open(self) -> StreamWriter:
        """Make the stream, if there is none; return it."""
        if self._stream is None:
            self._stream = StreamWriter(self.stream, self.schema)
        return self._stream

    def write(self, buffers: Buffers, rows: int) -> None:
        """Append the first rows of buffers as a batch."""
        self.open().write(buffers.batch(rows, self.schema, self._names))
        self.rows += rows

    def append(self, rows: Sequence[Mapping[str, int | str | bytes]]) -> None:
        """Append rows as a batch: values by column, names as texts. Missing values are zero, the first name, or empty.

        For tables with few rows: it takes microseconds per row.
        """
        if self._codes is None:
            self._codes = {column: _numbered(names.to_pylist()) for column, names in self._names.items()}
        buffers = Buffers(self.table, len(rows), sum(len(v) for row in rows for v in row.values() if type(v) is bytes))
        for number, row in enumerate(rows):
            buffers.put(number, {c: self._codes[c][v] if isinstance(v, str) else v for c, v in row.items()})
        self.write(buffers, len(rows))

    def finish(self, summary: Mapping[str, Any]) -> Path:
        """Close the stream with ``summary`` and write the finished file, which then replaces the stream.

        It may be called again after an interruption.
        """
        self.seal(summary)
        write_file(self.path, self.open().batches, self.schema, dict(summary))
        self.stream.unlink(missing_ok=True)
        return self.path

    def finish_at_once(self, buffers: Buffers, rows: int, summary: Mapping[str, Any]) -> Path:
        """Write the finished file with the first rows of buffers, which are all that there are. If it fails, the rows
        can still be written."""
        assert self._stream is None
        batch = buffers.batch(rows, self.schema, self._names)
        write_file(self.path, lambda: [batch], self.schema, dict(summary))
        return self.path

    def seal(self, summary: Mapping[str, Any]) -> None:
        """Close the stream with ``summary``; it is then whole. A second call does nothing."""
        if not self._sealed:
            stream = self.open()
            stream.write(empty(self.schema), summary_metadata(dict(summary)))
            stream.close()
            self._sealed = True

    def cut(self) -> None:
        """Close the stream without its end and cut off a partly written batch, so that it stays readable."""
        if self._stream is not None:
            self._stream.cut()

    @property
    def begun(self) -> bool:
        """Whether there was a stream."""
        return self._stream is not None

    @property
    def there(self) -> bool:
        """Whether the stream is still where it was made: somebody may have deleted it, or its folder."""
        return self._stream is not None and self._stream.there


def _numbered(names: Iterable[str]) -> dict[str, int]:
    return {name: code for code, name in enumerate(names)}
