"""Rows in an Arrow IPC file or stream, with damage as TraceError: the base of all tables' files.

Opening a file checks all of it: the messages, one by one (:mod:`tracer.format.messages`), and the seals that vmrun's
writers set on batches. Batches without seals are decompressed and checked. So every command reports the same for a
file.
"""

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from tracer.format.closing import TIME_END
from tracer.format.errors import TraceError, TraceWarning
from tracer.format.fitting import Fitting
from tracer.format.messages import (
    CONTINUATION,
    FOOTER_MAX,
    NAMES_BYTES_MAX,
    CutError,
    DamageError,
    Message,
    Seals,
    check_declared,
    footer_blocks,
    next_message,
)
from tracer.format.paths import open_regular
from vmspec.trace import keys
from vmspec.trace.files import exists, stream_path
from vmspec.trace.record import RING_MAGIC

FILE_MAGIC = b"ARROW1"
FILE_START = 8  # bytes: the magic, padded
PARQUET_MAGIC = b"PAR1"
SLICE = 1024  # rows of a batch that are Python objects at a time: those take much more room
ALL = slice(None)
BACKWARDS = slice(None, None, -1)


class RowFile:
    """Rows of ``schema`` at ``path``: a finished file, or a stream, whole, growing or cut off, as it was when opened.

    ``closing`` is the JSON of the closing summary, None if there is none. ``cut`` is the number of bytes of an
    incomplete message at a stream's end; a TraceWarning reports it. Raises TraceError for a file of another kind, and
    for one that is damaged anywhere.
    """

    time: str  # the column that orders the rows

    def __init__(self, path: Path) -> None:
        self.path = path
        self.closing: bytes | None = None
        self.cut = 0
        with self._open() as descriptor:
            status = os.fstat(descriptor)
            self._identity = status.st_dev, status.st_ino
            self._is_file = _is_file(path, os.pread(descriptor, 8, 0))
            self._index = _Index(path, descriptor, self._is_file, status.st_size)
            self._fitting = self._accepted(self._index.schema)
            self.schema = self._fitting.schema
            self._index.complete()
            if self._index.custom is not None:
                self.closing = self._index.custom.get(keys.SUMMARY.encode())
            self.cut = self._index.cut
        if not self._index.sealed:
            for _ in self.batches():
                pass
        if self.cut and self.closing is None:
            warnings.warn(
                f"{path} ends within a batch, as the stream of a killed or running machine may: its last {self.cut:,} "
                "bytes are left out",
                TraceWarning,
                stacklevel=3,
            )

    def _accepted(self, schema: Any) -> Fitting:
        """How the file's columns become those of the rows. Raises TraceError if they cannot."""
        raise NotImplementedError

    @property
    def kind(self) -> str:
        """The kind of file: "file" (finished) or "stream"."""
        return "file" if self._is_file else "stream"

    @cached_property
    def table(self) -> Any:
        """All rows as a ``pyarrow.Table``."""
        import pyarrow as pa

        return pa.Table.from_batches(list(self.batches()), schema=self.schema).unify_dictionaries()

    def batches(self, columns: Sequence[str] | None = None, which: slice = ALL) -> Iterator[Any]:
        """The rows as ``pyarrow.RecordBatch`` objects, read one after another; of a cut stream, the whole ones.

        ``columns`` names the wanted columns, in the file's order; the others are not decompressed. ``which`` selects
        batches: ``slice(1, None, 2)`` every second one, ``BACKWARDS`` the last one first. Raises TraceError if the file
        is damaged or has been replaced by another.
        """
        import pyarrow as pa

        wanted = self._fitting.fields(columns)
        # With several reading threads, each has its core: Arrow's own threads would only be in the way.
        options = pa.ipc.IpcReadOptions(included_fields=wanted, use_threads=which == ALL)
        with self._open() as descriptor:
            status = os.fstat(descriptor)
            if (status.st_dev, status.st_ino) != self._identity:
                raise TraceError(f"{self.path} was replaced after it was opened")
            feed = _Feed(descriptor, self._index.head, [m for m in self._index.batches[which] if m.rows])
            try:
                with pa.ipc.open_stream(feed, options=options) as reader:
                    for batch in reader:
                        yield self._fitting.fitted(checked(batch, self.time), columns)
            except damage() as error:
                raise TraceError(f"{self.path} is damaged: {error}") from error

    def to_pandas(self) -> Any:
        """All rows as a ``pandas.DataFrame``; columns of names are categoricals."""
        try:
            import pandas  # noqa: F401 - pyarrow needs it, and reports its absence less plainly
        except ImportError:
            raise TraceError("pandas is not installed: pip install pandas (vmrun's extra: pandas)") from None
        return self.table.to_pandas()

    @contextmanager
    def _open(self) -> Iterator[int]:
        try:
            descriptor = open_regular(self.path)
        except OSError as error:
            raise TraceError(f"cannot open {self.path}: {error.strerror}{_left(self.path)}") from error
        try:
            yield descriptor
        finally:
            os.close(descriptor)


class _Index:
    """The places of a file's messages. ``head`` are the bytes that every batch needs, schema and dictionaries;
    ``custom`` is the custom metadata of the last batch."""

    def __init__(self, path: Path, descriptor: int, is_file: bool, size: int) -> None:
        import pyarrow as pa

        self.batches: list[Message] = []
        self._found: list[Message] = []  # dictionaries and batches, as they come
        self.cut = 0
        self.custom: dict[bytes, bytes] | None = None
        self._path, self._descriptor, self._is_file = path, descriptor, is_file
        self._at = FILE_START if is_file else 0
        self._size = size
        self._seals = Seals()
        ended = size >= FILE_START + len(FILE_MAGIC) and _read(descriptor, size - len(FILE_MAGIC), size) == FILE_MAGIC
        if is_file and not ended:
            raise TraceError(
                f"{path} is cut short: its end is missing, and without that it cannot be read; copy it again"
            )
        with self._told():
            message, raw = self._next()
            if message is None:
                raise TraceError(f"{path} is cut off before the end of its schema, so no rows can be read")
            if message.kind != "schema":
                raise DamageError(message.offset, "there is no schema before the rows")
            self.schema = pa.ipc.read_schema(pa.py_buffer(raw))
        self.head = raw

    @property
    def sealed(self) -> bool:
        """Whether all batches have seals, which were checked."""
        return self._seals.sealed is True

    def complete(self) -> None:
        """Find and check all other messages."""
        with self._told():
            while True:
                message, raw = self._next()
                if message is None:
                    if self._is_file:
                        raise DamageError(self._at, "its messages have no end")
                    self.cut = self._size - self._at
                    break
                if message.kind == "end":
                    if self._is_file:
                        self._check_footer()
                    elif self._at < self._size:
                        raise DamageError(self._at, "there is more after the stream's end")
                    break
                self._found.append(message)
                if message.kind == "dictionary" and not self.batches:
                    self.head += raw
                    if len(self.head) > NAMES_BYTES_MAX:
                        raise DamageError(message.offset, "its dictionaries have no end")
                elif message.kind == "batch":
                    self.batches.append(message)
                    if self.custom is not None and keys.SUMMARY.encode() in self.custom:
                        raise DamageError(message.offset, "there are rows after the closing summary")
                    self.custom = {key: raw[place] for key, place in message.custom.items()}
                else:
                    raise DamageError(message.offset, f"a {message.kind} comes where no trace has one")

    def _next(self) -> tuple[Message | None, bytes]:
        """The next message and its bytes; None if the file ends before it does."""
        try:
            message = next_message(lambda at, size: os.pread(self._descriptor, size, at), self._at, self._size)
        except CutError:
            return None, b""
        raw = _read(self._descriptor, message.offset, message.offset + message.size)
        if message.kind != "end":
            check_declared(message, raw)
            self._seals.check(message, raw)
        self._at += message.size
        return message, raw

    def _check_footer(self) -> None:
        """Check that the footer, for programs that do not read from the beginning, describes the same batches."""
        import pyarrow as pa

        size = self._size - len(FILE_MAGIC) - 4 - self._at
        raw = _read(self._descriptor, self._at, self._size - len(FILE_MAGIC))
        if not 0 < size <= FOOTER_MAX or int.from_bytes(raw[-4:], "little") != size:
            raise DamageError(self._at, "its footer is damaged")
        found = [(message.offset, message.size - message.body, message.body) for message in self._found]
        if footer_blocks(raw[:-4], self._at) != found:
            raise DamageError(self._at, "its footer lists other batches than the file has")
        with pa.OSFile(os.fsencode(self._path), "rb") as source, pa.ipc.open_file(source) as reader:
            if not reader.schema.equals(self.schema, check_metadata=True):
                raise DamageError(self._at, "its footer has another schema")

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except damage() as error:
            raise TraceError(f"{self._path} is damaged: {error}") from error


class _Feed:
    """A file from which pyarrow reads a stream: the head, the wanted messages, an end."""

    closed = False

    def __init__(self, descriptor: int, head: bytes, messages: Iterable[Message]) -> None:
        self._descriptor = descriptor
        self._messages = iter(messages)
        self._piece = memoryview(head)

    def read(self, size: int) -> memoryview:
        """Up to so many bytes, of one message."""
        if not self._piece and size:
            message = next(self._messages, None)
            if message is not None:
                self._piece = memoryview(_read(self._descriptor, message.offset, message.offset + message.size))
        piece, self._piece = self._piece[:size], self._piece[size:]
        return piece

    def readable(self) -> bool:
        """pyarrow's file interface."""
        return True

    def writable(self) -> bool:
        """pyarrow's file interface."""
        return False

    def seekable(self) -> bool:
        """pyarrow's file interface."""
        return False

    def close(self) -> None:
        """The caller that opened the file closes it."""


def tuples(batch: Any) -> Iterator[tuple[Any, ...]]:
    """The rows of a batch, names for codes: several times as fast as pyarrow's ``to_pylist``."""
    for start in range(0, batch.num_rows, SLICE):
        yield from zip(*map(_list, batch.slice(start, SLICE).columns), strict=True)


def dicts(batch: Any) -> Iterator[dict[str, Any]]:
    """The same rows, as dicts by the columns' names."""
    names = batch.schema.names
    return (dict(zip(names, row, strict=True)) for row in tuples(batch))


def _list(column: Any) -> list[Any]:
    import pyarrow as pa

    if not pa.types.is_dictionary(column.type):
        values: list[Any] = column.to_pylist()
        return values
    names = column.dictionary.to_pylist()
    return [names[code] for code in column.indices.to_pylist()]


def checked(batch: Any, time: str) -> Any:
    """The batch, whole, without nulls, ordered by ``time``: a damaged file must not cause a crash or an endless loop in
    its reader."""
    import pyarrow as pa
    import pyarrow.compute as pc

    batch.validate()
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if column.null_count:
            raise pa.ArrowInvalid("a column has nulls")
        if not pa.types.is_dictionary(column.type):
            column.validate(full=True)
        else:
            # validate(full=True) checks this too, but takes ten times as long.
            column.dictionary.validate(full=True)
            codes = pc.min_max(column.indices).as_py()
            if len(column) and not 0 <= codes["min"] <= codes["max"] < len(column.dictionary):
                raise pa.ArrowInvalid("a column has a code without a name")
        if len(column) and pa.types.is_int64(column.type):
            ends = pc.min_max(column).as_py()
            if not -TIME_END < ends["min"] <= ends["max"] < TIME_END:
                raise pa.ArrowInvalid(f"{name} has an impossible time")
    return _ordered(batch, time)


def _ordered(batch: Any, time: str) -> Any:
    """The batch ordered by ``time``, if it has that column: a host whose TSC ran back left it in another order."""
    import pyarrow.compute as pc

    if time not in batch.schema.names or batch.num_rows < 2:
        return batch
    times = batch[time]
    if pc.all(pc.less_equal(times[:-1], times[1:])).as_py():
        return batch
    return batch.take(pc.sort_indices(times))


def damage() -> tuple[type[BaseException], ...]:
    """The exceptions for damaged input, ours and pyarrow's."""
    import pyarrow as pa

    return (DamageError, pa.ArrowException, OSError, ValueError, MemoryError, OverflowError, EOFError)


def _read(descriptor: int, start: int, end: int) -> bytes:
    """Read all of the requested bytes of a file."""
    data = os.pread(descriptor, end - start, start)
    while len(data) < end - start:  # a read returns at most 2 GiB, and may be interrupted
        more = os.pread(descriptor, end - start - len(data), start + len(data))
        if not more:
            raise DamageError(start + len(data), "it was cut while it was read")
        data += more
    return data


def _is_file(path: Path, start: bytes) -> bool:
    """Whether it is a file (True) or a stream (False), by its content."""
    if start.startswith(FILE_MAGIC):
        return True
    if start.startswith(CONTINUATION):
        return False
    if start == RING_MAGIC.to_bytes(8, "little"):
        raise TraceError(f"{path} is a ring file, not a trace: vmtrace recover {path} makes a trace from it")
    if not start:
        raise TraceError(f"{path} is empty")
    if start.startswith(PARQUET_MAGIC):
        raise TraceError(f"{path} is a Parquet file: vmtrace convert {path} {path.with_suffix('.arrow')} makes a trace")
    raise TraceError(f"{path} is not an Arrow file")


def _left(path: Path) -> str:
    """A hint at the files of a running or killed run in the place of a trace."""
    stream = stream_path(path)
    if exists(path) or not exists(stream):
        return ""
    return f"; {stream} is there: its run continues (vmtrace top {path}) or was killed (vmtrace recover {path})"
