"""Traces as they are read: finished files, streams still being written, streams that a killed run left."""

import json
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracer.errors import TraceError
from tracer.schema import FORMAT, KEY_DEVICES, KEY_FORMAT, KEY_SUMMARY, trace_schema
from vmspec.record import RING_MAGIC

if TYPE_CHECKING:
    from tracer.kernelfile import KernelTable

FILE_MAGIC = b"ARROW1"
STREAM_MAGIC = b"\xff\xff\xff\xff"  # the continuation marker before the first message (Arrow columnar format, IPC)


def load(path: str | os.PathLike[str]) -> "Trace":
    """Open a trace: a finished ``.arrow`` file, or an ``.arrows`` stream, whole, growing or cut off.

    Raises TraceError for a file that is missing, empty, not a trace, damaged, or of a newer version.
    """
    return Trace(Path(path))


class Trace:
    """One recorded run. The columns are those of :data:`vmspec.record.COLUMNS`; rows are ordered by t_exit.

    ``metadata`` are the schema's keys and values; ``devices`` the names of the plan's devices; ``summary`` is what
    the runner said at the end, None where the run has not ended cleanly; ``complete`` is False where rows may be
    missing at the end: a run that goes on, was killed, or was recovered.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._is_file = _is_file(path)
        self.summary: dict[str, Any] | None = None
        schema, last = self._ends()
        self.metadata = read_metadata(path, schema)
        self.schema = trace_schema(self.metadata, self.devices)
        if not schema.equals(self.schema):
            raise TraceError(f"{path} does not have the columns of a trace of format {FORMAT}")
        if last is not None and KEY_SUMMARY.encode() in last:
            self.summary = read_summary(path, bytes(last[KEY_SUMMARY.encode()]))

    @property
    def kind(self) -> str:
        """What kind of file it is: "file" (finished) or "stream"."""
        return "file" if self._is_file else "stream"

    @property
    def complete(self) -> bool:
        """Whether this is everything the run recorded."""
        return self.summary is not None and self.summary.get("complete", True) is True

    @cached_property
    def devices(self) -> tuple[str, ...]:
        """Names of the plan's devices, in its order."""
        return read_devices(self.path, self.metadata)

    @cached_property
    def spec(self) -> dict[str, Any]:
        """The resolved spec of the run, as tomllib reads it; empty where the trace has none."""
        return read_spec(self.path, self.metadata)

    @cached_property
    def host(self) -> dict[str, Any]:
        """Facts about the host of the run; empty where the trace has none."""
        return _object(self.path, "vmrun.host", self.metadata.get("vmrun.host", "{}").encode())

    @cached_property
    def clock(self) -> dict[str, int]:
        """``tsc_start``, the host's TSC that is time 0, and ``tsc_khz``, its rate; empty where the trace has none."""
        return _object(self.path, "vmrun.clock", self.metadata.get("vmrun.clock", "{}").encode())

    @cached_property
    def table(self) -> Any:
        """All rows as a ``pyarrow.Table``."""
        import pyarrow as pa

        return pa.Table.from_batches(list(self.batches()), schema=self.schema).unify_dictionaries()

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[Any]:
        """The rows as ``pyarrow.RecordBatch`` objects, read one after another; of a cut stream, the whole ones.

        ``columns`` names the columns that are wanted, in the trace's order; the others are neither read nor unpacked.
        Raises TraceError when a finished file turns out to be damaged.
        """
        for batch, _ in self._read(columns):
            if batch.num_rows:
                yield batch

    def to_pandas(self) -> Any:
        """All rows as a ``pandas.DataFrame``; reason, direction and device are categoricals."""
        try:
            import pandas  # noqa: F401 - pyarrow needs it, and says so less plainly
        except ImportError:
            raise TraceError("pandas is not installed: pip install vmrun[pandas]") from None
        return self.table.to_pandas()

    @cached_property
    def kernel(self) -> "KernelTable | None":
        """The kernel's own events of this run, which ``trace.kernel`` asked for; None where there are none."""
        from tracer.kernelfile import beside

        return beside(self.path, self.metadata.get("vmrun.clock", ""))

    def console(self, device: str | None = None) -> bytes:
        """What the guest printed on a serial or debug port, rebuilt from its writes (see :mod:`tracer.console`)."""
        from tracer.console import Console

        return Console(self, self.devices, device).text

    def _ends(self) -> tuple[Any, Mapping[bytes, bytes] | None]:
        """The schema, and the custom metadata of the last batch."""
        import pyarrow as pa

        try:
            with pa.OSFile(str(self.path), "rb") as source:
                if not self._is_file:
                    with pa.ipc.open_stream(source) as stream:
                        schema = stream.schema
                    custom = [custom for _, custom in self._read()]
                    return schema, custom[-1] if custom else None
                with pa.ipc.open_file(source) as reader:
                    count = reader.num_record_batches
                    return reader.schema, reader.get_batch_with_custom_metadata(count - 1)[1] if count else None
        except _damage() as error:
            raise TraceError(f"{self.path} is damaged or cut short: {error}") from error

    def _read(self, columns: Sequence[str] | None = None) -> Iterator[tuple[Any, Any]]:
        """Checked batches with their custom metadata."""
        import pyarrow as pa

        wanted = [self.schema.get_field_index(name) for name in columns] if columns is not None else None
        options = pa.ipc.IpcReadOptions(included_fields=wanted)
        try:
            source = pa.OSFile(str(self.path), "rb")
        except OSError as error:
            raise TraceError(f"cannot open {self.path}: {error}") from error
        open_ipc = pa.ipc.open_file if self._is_file else pa.ipc.open_stream
        try:
            with source, open_ipc(source, options=options) as reader:
                for batch, custom in _raw(reader, self._is_file):
                    yield checked(batch), custom
        except _damage() as error:
            if self._is_file:
                raise TraceError(f"{self.path} is damaged: {error}") from error
            # A stream that ends within a batch is what a killed run leaves: what came before is the trace.


def checked(batch: Any) -> Any:
    """The batch, which is whole and without nulls: a damaged file must not become a crash of what reads it."""
    import pyarrow as pa

    batch.validate(full=True)
    if any(column.null_count for column in batch.columns):
        raise pa.ArrowInvalid("a column has nulls")
    return batch


def _raw(reader: Any, is_file: bool) -> Iterator[tuple[Any, Any]]:
    if is_file:
        for index in range(reader.num_record_batches):
            yield reader.get_batch_with_custom_metadata(index)
    else:
        yield from reader.iter_batches_with_custom_metadata()


def _damage() -> tuple[type[BaseException], ...]:
    """What pyarrow raises over damaged input."""
    import pyarrow as pa

    return (pa.ArrowException, OSError, ValueError, MemoryError, OverflowError, EOFError)


def _is_file(path: Path) -> bool:
    """Whether it is a file (True) or a stream (False), told by content."""
    try:
        with path.open("rb") as source:
            start = source.read(8)
    except OSError as error:
        raise TraceError(f"cannot open {path}: {error.strerror}") from error
    if start.startswith(FILE_MAGIC):
        return True
    if start.startswith(STREAM_MAGIC):
        return False
    if start == RING_MAGIC.to_bytes(8, "little"):
        raise TraceError(f"{path} is a ring file, not a trace: vmtrace recover {path} makes one of it")
    if not start:
        raise TraceError(f"{path} is empty")
    raise TraceError(f"{path} is not an Arrow file")


def read_metadata(path: Path, schema: Any) -> dict[str, str]:
    """The schema's metadata as text, of a format that this version reads."""
    try:
        metadata = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
    except UnicodeDecodeError as error:
        raise TraceError(f"{path}: the metadata is damaged: {error}") from error
    version = metadata.get(KEY_FORMAT)
    if version is None:
        raise TraceError(f"{path} is an Arrow file, but not a trace of vmrun (its schema has no {KEY_FORMAT})")
    if version != FORMAT:
        raise TraceError(f"{path} has trace format {version!r}; this vmtrace reads format {FORMAT}: use a newer one")
    _strings(path, KEY_DEVICES, metadata.get(KEY_DEVICES, ""))
    return metadata


def read_devices(path: Path, metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Names of the plan's devices."""
    return tuple(_strings(path, KEY_DEVICES, metadata[KEY_DEVICES]))


def read_spec(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """The resolved spec, as tomllib reads it; empty where there is none."""
    try:
        return tomllib.loads(metadata.get("vmrun.spec", ""))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise TraceError(f"{path}: the spec in the metadata is not TOML: {error}") from error


def machine_name(spec: Mapping[str, Any]) -> str:
    """``vm.name`` of a spec, "" where it has none."""
    table = spec.get("vm")
    name = table.get("name") if isinstance(table, dict) else None
    return name if isinstance(name, str) else ""


def read_summary(path: Path, text: bytes) -> dict[str, Any]:
    """The closing summary."""
    return _object(path, "the closing summary", text)


def _strings(path: Path, key: str, text: str) -> list[str]:
    try:
        value = json.loads(text)
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            "".join(value).encode()
            return value
    except (ValueError, RecursionError):
        pass
    raise TraceError(f"{path}: {key} in the metadata is damaged")


def _object(path: Path, what: str, text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
        if isinstance(value, dict):
            return value
    except (ValueError, RecursionError):
        pass
    raise TraceError(f"{path}: {what} is damaged")
