"""Traces as they are read: finished files, streams still being written, streams that a killed run left."""

import json
import os
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracer import closing
from tracer.errors import TraceError
from tracer.rowfile import RowFile
from tracer.schema import FORMAT, KEY_DEVICES, KEY_FORMAT, TIME, trace_schema
from vmspec import toml

if TYPE_CHECKING:
    from tracer.kernelfile import KernelTable


def load(path: str | os.PathLike[str]) -> "Trace":
    """Open a trace: a finished ``.arrow`` file, or an ``.arrows`` stream, whole, growing or cut off.

    Raises TraceError for a file that is missing, empty, not a trace, damaged, or of a newer version.
    """
    return Trace(Path(path))


class Trace(RowFile):
    """One recorded run. The columns are those of :data:`vmspec.record.COLUMNS`; rows are ordered by t_exit.

    ``metadata`` are the schema's keys and values; ``devices`` the names of the plan's devices; ``summary`` is what
    the runner said at the end, None where the run has not ended cleanly; ``complete`` is False where rows may be
    missing at the end: a run that goes on, was killed, or was recovered.
    """

    time = TIME

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.summary = None if self.closing is None else read_summary(path, self.closing, closing.TRACE)

    def _accepted(self, schema: Any) -> Any:
        self.metadata = read_metadata(self.path, schema)
        expected = trace_schema(self.metadata, self.devices)
        if not schema.equals(expected):
            raise TraceError(f"{self.path} does not have the columns of a trace of format {FORMAT}")
        for read in METADATA.values():
            read(self.path, self.metadata)
        return expected

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
        return METADATA["vmrun.host"](self.path, self.metadata)

    @cached_property
    def clock(self) -> dict[str, int]:
        """``tsc_start``, the host's TSC that is time 0, and ``tsc_khz``, its rate; empty where the trace has none."""
        return METADATA["vmrun.clock"](self.path, self.metadata)

    @cached_property
    def kernel(self) -> "KernelTable | None":
        """The kernel's own events of this run, which ``trace.kernel`` asked for; None where there are none."""
        from tracer.kernelfile import beside

        return beside(self.path, self.metadata.get("vmrun.clock", ""))

    def console(self, device: str | None = None) -> bytes:
        """What the guest printed on a serial or debug port, rebuilt from its writes (see :mod:`tracer.console`)."""
        from tracer.console import Console

        return Console(self, self.devices, device).text


def read_metadata(path: Path, schema: Any) -> dict[str, str]:
    """The schema's metadata as text, of a format that this version reads."""
    try:
        metadata = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
    except UnicodeDecodeError as error:
        raise TraceError(f"{path}: the metadata is damaged: {error}") from error
    version = metadata.get(KEY_FORMAT)
    if version is None:
        raise TraceError(f"{path} is an Arrow file, but not a trace of vmrun (its schema has no {KEY_FORMAT})")
    if version.startswith("kernel-"):
        raise TraceError(f"{path} has the kernel's events of a trace: give the trace itself to vmtrace kernel")
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
        return toml.loads(metadata.get("vmrun.spec", ""))
    except (ValueError, RecursionError) as error:
        raise TraceError(f"{path}: the spec in the metadata is not TOML: {error}") from error


def unreadable(path: Path, metadata: Mapping[str, str]) -> list[str]:
    """Keys of the metadata of which a trace could not be used."""
    return [key for key in METADATA if key in metadata and not _readable(path, key, metadata)]


def _readable(path: Path, key: str, metadata: Mapping[str, str]) -> bool:
    try:
        METADATA[key](path, metadata)
    except TraceError:
        return False
    return True


def machine_name(spec: Mapping[str, Any]) -> str:
    """``vm.name`` of a spec, "" where it has none."""
    table = spec.get("vm")
    name = table.get("name") if isinstance(table, dict) else None
    return name if isinstance(name, str) else ""


def read_summary(path: Path, text: bytes, kinds: Mapping[str, closing.Kind] = closing.TRACE) -> dict[str, Any]:
    """The closing summary, of which what is not of its documented kind is left out."""
    return closing.said(_object(path, "the closing summary", text), kinds)


def read_json(text: str | bytes) -> Any:
    """A value in JSON. Raises ValueError, also for what is nested too deep and for text that UTF-8 cannot hold."""
    try:
        value = json.loads(text)
        json.dumps(value, ensure_ascii=False).encode()  # JSON can spell lone surrogates
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    return value


def _strings(path: Path, key: str, text: str) -> list[str]:
    try:
        value = read_json(text)
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return value
    except ValueError:
        pass
    raise TraceError(f"{path}: {key} in the metadata is damaged")


def _object(path: Path, what: str, text: bytes) -> dict[str, Any]:
    try:
        value = read_json(text)
        if isinstance(value, dict):
            return value
    except ValueError:
        pass
    raise TraceError(f"{path}: {what} is damaged")


# What is read of the metadata beyond its text, and raises TraceError where that is damaged.
METADATA: Mapping[str, Callable[[Path, Mapping[str, str]], dict[str, Any]]] = {
    "vmrun.spec": read_spec,
    "vmrun.host": lambda path, metadata: _object(path, "vmrun.host", metadata.get("vmrun.host", "{}").encode()),
    "vmrun.clock": lambda path, metadata: _object(path, "vmrun.clock", metadata.get("vmrun.clock", "{}").encode()),
}
