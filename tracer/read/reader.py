"""Traces for reading: finished files, streams still being written, streams that a killed run left."""

import os
import warnings
from functools import cached_property
from pathlib import Path
from typing import Any

from tracer.read.metadata import read_devices, read_value
from tracer.read.tablefile import TableFile, Tables
from vmspec.trace import keys
from vmspec.trace.record import EXITS
from vmspec.trace.tracepoints import TRACEPOINTS


def load(path: str | os.PathLike[str]) -> "Trace":
    """Open a trace: a finished ``.arrow`` file, or an ``.arrows`` stream, whole, growing or cut off.

    Raises TraceError for a file that is missing, empty, not a trace, damaged, or of a newer version.
    """
    return Trace(Path(path))


class Trace(TableFile):
    """One recorded run: its exits, and in ``tables`` everything recorded beside them.

    The columns are those of :data:`vmspec.trace.record.COLUMNS`; rows are ordered by t_exit. ``devices`` are the names
    of the plan's devices.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, EXITS)

    @cached_property
    def tables(self) -> Tables:
        """The tables by name: ``exits``, the trace itself, and those beside it."""
        return Tables(self)

    @cached_property
    def devices(self) -> tuple[str, ...]:
        """Names of the plan's devices, in its order."""
        return read_devices(self.path, self.metadata)

    @cached_property
    def spec(self) -> dict[str, Any]:
        """The resolved spec of the run, as tomllib reads it; empty if the trace has none."""
        return self._said(keys.SPEC)

    @cached_property
    def host(self) -> dict[str, Any]:
        """Facts about the host of the run; empty if the trace has none."""
        return self._said(keys.HOST)

    @cached_property
    def clock(self) -> dict[str, int]:
        """``tsc_start``, the host's TSC that is time 0, and ``tsc_khz``, its rate; empty if the trace has none."""
        return self._said(keys.CLOCK)

    @property
    def tracepoints(self) -> TableFile | None:
        """The tracepoints of this run (``trace.tracepoints``); None if there are none."""
        return self.tables.get(TRACEPOINTS.name)

    @property
    def kernel(self) -> TableFile | None:
        """The former name of :attr:`tracepoints`: it warns, and will be removed in the next release."""
        warnings.warn("Trace.kernel is now called Trace.tracepoints", DeprecationWarning, stacklevel=2)
        return self.tracepoints

    def _said(self, key: str) -> dict[str, Any]:
        found: dict[str, Any] = read_value(self.path, self.metadata, key, self.definition.metadata[key])
        return found

    def console(self, device: str | None = None) -> bytes:
        """What the guest printed on its console, or on this serial port, debug port or port of a virtio console (see
        :mod:`tracer.read.console`). Raises TraceError for a device that is none."""
        from tracer.read.console import Console

        return Console(self, self.devices, device).text
