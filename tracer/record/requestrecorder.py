"""The recorder of requests to virtio devices, a table beside the exits."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tracer.format.errors import TraceError
from tracer.record.ringrecorder import RingRecorder, RingSource
from vmspec.trace.requests import REQUESTS


class RequestRecorder(RingRecorder):
    """Writes the requests of a ring, ordered by t_done. The closing summary counts those that were dropped."""

    def __init__(
        self, trace: Path, source: RingSource, metadata: Mapping[str, str], failed: Callable[[TraceError], None]
    ) -> None:
        super().__init__(trace, REQUESTS, source, metadata, failed)

    def finish(self, summary: Mapping[str, Any] | None = None) -> Path:
        self.stop()
        return super().finish({"dropped": self._source.dropped, **(summary or {})})
