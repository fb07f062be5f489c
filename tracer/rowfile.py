"""Rows in an Arrow IPC file or stream, with damage as an error of ours: what a trace and its kernel table share."""

import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from tracer.errors import TraceError
from vmspec.record import RING_MAGIC
from vmspec.tracefiles import exists, stream_path

FILE_MAGIC = b"ARROW1"
PARQUET_MAGIC = b"PAR1"
STREAM_MAGIC = b"\xff\xff\xff\xff"  # the continuation marker before the first message (Arrow columnar format, IPC)
SLICE = 1024  # rows of a batch that are Python objects at a time: they take much more room
ALL = slice(None)
BACKWARDS = slice(None, None, -1)


class RowFile:
    """Rows of ``schema`` at ``path``: a finished file, or a stream, whole, growing or cut off."""

    schema: Any

    def __init__(self, path: Path) -> None:
        self.path = path
        self._is_file = _is_file(path)

    @property
    def kind(self) -> str:
        """What kind of file it is: "file" (finished) or "stream"."""
        return "file" if self._is_file else "stream"

    @cached_property
    def table(self) -> Any:
        """All rows as a ``pyarrow.Table``."""
        import pyarrow as pa

        return pa.Table.from_batches(list(self.batches()), schema=self.schema).unify_dictionaries()

    def batches(self, columns: Sequence[str] | None = None, which: slice = ALL) -> Iterator[Any]:
        """The rows as ``pyarrow.RecordBatch`` objects, read one after another; of a cut stream, the whole ones.

        ``columns`` names the columns that are wanted, in the file's order; the others are neither read nor unpacked.
        ``which`` batches: ``slice(1, None, 2)`` every second one, ``BACKWARDS`` (of a file only) the last one
        first. Raises TraceError when a finished file turns out to be damaged.
        """
        for batch, _ in self._read(columns, which):
            if batch.num_rows:
                yield batch

    def to_pandas(self) -> Any:
        """All rows as a ``pandas.DataFrame``; columns of names are categoricals."""
        try:
            import pandas  # noqa: F401 - pyarrow needs it, and says so less plainly
        except ImportError:
            raise TraceError("pandas is not installed: pip install pandas (vmrun's extra: pandas)") from None
        return self.table.to_pandas()

    def _ends(self) -> tuple[Any, Any]:
        """The schema in the file, and the custom metadata of the last batch, None where it has none."""
        import pyarrow as pa

        try:
            with pa.OSFile(os.fsencode(self.path), "rb") as source:
                if not self._is_file:
                    with pa.ipc.open_stream(source) as stream:
                        schema = stream.schema
                    custom = [custom for _, custom in self._read()]
                    return schema, custom[-1] if custom else None
                with pa.ipc.open_file(source) as reader:
                    count = reader.num_record_batches
                    return reader.schema, reader.get_batch_with_custom_metadata(count - 1)[1] if count else None
        except _damage() as error:
            if self._is_file and not _has_end(self.path):
                raise TraceError(
                    f"{self.path} is cut short: its end is missing, and without that it cannot be read; copy it again"
                ) from error
            what = "damaged" if self._is_file else "damaged or cut short"
            raise TraceError(f"{self.path} is {what}: {error}") from error

    def _read(self, columns: Sequence[str] | None = None, which: slice = ALL) -> Iterator[tuple[Any, Any]]:
        """Checked batches with their custom metadata."""
        import pyarrow as pa

        wanted = [self.schema.get_field_index(name) for name in columns] if columns is not None else None
        # Where several threads read, each has its core: Arrow's own would only be in the way.
        options = pa.ipc.IpcReadOptions(included_fields=wanted, use_threads=which == ALL)
        try:
            source = pa.OSFile(os.fsencode(self.path), "rb")
        except OSError as error:
            raise TraceError(f"cannot open {self.path}: {error}") from error
        open_ipc = pa.ipc.open_file if self._is_file else pa.ipc.open_stream
        try:
            with source, open_ipc(source, options=options) as reader:
                for batch, custom in _raw(reader, self._is_file, which):
                    yield checked(batch), custom
        except _damage() as error:
            if self._is_file:
                raise TraceError(f"{self.path} is damaged: {error}") from error
            # A stream that ends within a batch is what a killed run leaves: what came before are the rows.


def tuples(batch: Any) -> Iterator[tuple[Any, ...]]:
    """The rows of a batch, names for codes: several times as fast as pyarrow's ``to_pylist``."""
    for start in range(0, batch.num_rows, SLICE):
        yield from zip(*map(_list, batch.slice(start, SLICE).columns), strict=True)


def dicts(batch: Any) -> Iterator[dict[str, Any]]:
    """The same rows, each by the columns' names."""
    names = batch.schema.names
    return (dict(zip(names, row, strict=True)) for row in tuples(batch))


def _list(column: Any) -> list[Any]:
    import pyarrow as pa

    if not pa.types.is_dictionary(column.type):
        values: list[Any] = column.to_pylist()
        return values
    names = column.dictionary.to_pylist()
    return [names[code] for code in column.indices.to_pylist()]


def checked(batch: Any) -> Any:
    """The batch, which is whole and without nulls: a damaged file must not become a crash of what reads it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    batch.validate()
    for column in batch.columns:
        if column.null_count:
            raise pa.ArrowInvalid("a column has nulls")
        if not pa.types.is_dictionary(column.type):
            column.validate(full=True)
            continue
        # What validate(full=True) checks of it too, but in a tenth of the time.
        column.dictionary.validate(full=True)
        codes = pc.min_max(column.indices).as_py()
        if len(column) and not 0 <= codes["min"] <= codes["max"] < len(column.dictionary):
            raise pa.ArrowInvalid("a column has a code without a name")
    return batch


def _raw(reader: Any, is_file: bool, which: slice) -> Iterator[tuple[Any, Any]]:
    if is_file:
        for index in range(reader.num_record_batches)[which]:
            yield reader.get_batch_with_custom_metadata(index)
    else:
        yield from islice(reader.iter_batches_with_custom_metadata(), which.start, which.stop, which.step)


def _damage() -> tuple[type[BaseException], ...]:
    """What pyarrow raises over damaged input."""
    import pyarrow as pa

    return (pa.ArrowException, OSError, ValueError, MemoryError, OverflowError, EOFError)


def _has_end(path: Path) -> bool:
    """Whether a file ends as one does: one that is cut off does not."""
    with path.open("rb") as source:
        source.seek(-min(len(FILE_MAGIC), path.stat().st_size), os.SEEK_END)
        return source.read() == FILE_MAGIC


def _is_file(path: Path) -> bool:
    """Whether it is a file (True) or a stream (False), told by content."""
    try:
        with path.open("rb") as source:
            start = source.read(8)
    except OSError as error:
        raise TraceError(f"cannot open {path}: {error.strerror}{_left(path)}") from error
    if start.startswith(FILE_MAGIC):
        return True
    if start.startswith(STREAM_MAGIC):
        return False
    if start == RING_MAGIC.to_bytes(8, "little"):
        raise TraceError(f"{path} is a ring file, not a trace: vmtrace recover {path} makes one of it")
    if not start:
        raise TraceError(f"{path} is empty")
    if start.startswith(PARQUET_MAGIC):
        raise TraceError(f"{path} is a Parquet file: vmtrace convert {path} {path.with_suffix('.arrow')} makes a trace")
    raise TraceError(f"{path} is not an Arrow file")


def _left(path: Path) -> str:
    """A hint at what a run that goes on, or was killed, has in the place of a trace."""
    stream = stream_path(path)
    if exists(path) or not exists(stream):
        return ""
    return f"; {stream} is there: its run goes on (vmtrace top {path}) or was killed (vmtrace recover {path})"
