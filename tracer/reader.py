"""Traces as they are read: finished files, streams still being written, streams that a killed run left."""

import json
import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
        self.summary = None if self.closing is None else read_summary(path, self.closing)

    def _accepted(self, schema: Any) -> Any:
        self.metadata = read_metadata(self.path, schema)
        expected = trace_schema(self.metadata, self.devices)
        if not schema.equals(expected):
            raise TraceError(f"{self.path} does not have the columns of a trace of format {FORMAT}")
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
        return _object(self.path, "vmrun.host", self.metadata.get("vmrun.host", "{}").encode())

    @cached_property
    def clock(self) -> dict[str, int]:
        """``tsc_start``, the host's TSC that is time 0, and ``tsc_khz``, its rate; empty where the trace has none."""
        return _object(self.path, "vmrun.clock", self.metadata.get("vmrun.clock", "{}").encode())

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
