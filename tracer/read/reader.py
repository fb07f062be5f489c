"""Traces as they are read: finished files, streams still being written, streams that a killed run left."""

import os
import warnings
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracer.format import closing
from tracer.format.errors import TraceError
from tracer.format.rowfile import RowFile
from tracer.format.schema import FORMAT, TIME, trace_schema
from tracer.read.metadata import METADATA, read_devices, read_metadata, read_spec, read_summary

if TYPE_CHECKING:
    from tracer.read.tracepointfile import TracepointTable


def load(path: str | os.PathLike[str]) -> "Trace":
    """Open a trace: a finished ``.arrow`` file, or an ``.arrows`` stream, whole, growing or cut off.

    Raises TraceError for a file that is missing, empty, not a trace, damaged, or of a newer version.
    """
    return Trace(Path(path))


class Trace(RowFile):
    """One recorded run. The columns are those of :data:`vmspec.trace.record.COLUMNS`; rows are ordered by t_exit.

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

    @property
    def kernel(self) -> "TracepointTable | None":
        """The former name of :attr:`tracepoints`: it warns, and goes with the next release."""
        warnings.warn("Trace.kernel is now called Trace.tracepoints", DeprecationWarning, stacklevel=2)
        return self.tracepoints

    @cached_property
    def tracepoints(self) -> "TracepointTable | None":
        """The tracepoints of this run, which ``trace.tracepoints`` asked for; None where there are none."""
        from tracer.read.tracepointfile import beside

        return beside(self.path, self.metadata.get("vmrun.clock", ""))

    def console(self, device: str | None = None) -> bytes:
        """What the guest printed on a serial or debug port, rebuilt from its writes (see
        :mod:`tracer.read.console`)."""
        from tracer.read.console import Console

        return Console(self, self.devices, device).text
