"""The recorder of the transfers of devices with virtual time, a table beside the exits."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tracer.format.errors import TraceError
from tracer.record.ringrecorder import RingRecorder, RingSource
from vmspec.trace.dma import DMA


class TransferRecorder(RingRecorder):
    """Writes the transfers of a ring. A table from which some were dropped is not complete: nothing can replay it."""

    def __init__(
        self, trace: Path, source: RingSource, metadata: Mapping[str, str], failed: Callable[[TraceError], None]
    ) -> None:
        super().__init__(trace, DMA, source, metadata, failed)

    def finish(self, summary: Mapping[str, Any] | None = None) -> Path:
        self.stop()
        partial = {"complete": False} if self._source.dropped else {}
        return super().finish({**partial, **(summary or {})})
