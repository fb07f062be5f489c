"""The recorder's side of a ring whose records are the rows of one table."""

import os
from typing import TYPE_CHECKING

from runner.native import _native

if TYPE_CHECKING:
    from runner.native._native import RingPointer

lib = _native.lib


class TableRing:
    """``ring`` is initialised, ``event`` its eventfd, ``clock`` that of the trace."""

    def __init__(self, ring: "RingPointer", event: int, clock: dict[str, int]) -> None:
        self.ring = ring
        self._event, self._clock = event, clock

    @property
    def dropped(self) -> int:
        """How many were dropped because the ring was full, or nobody consumed them."""
        return int(self.ring.control.dropped)

    def wait(self, seconds: float) -> None:
        """Return when the ring is a quarter full, when woken, or after ``seconds``."""
        lib.rings_wait(self._event, int(seconds * 1000))

    def wake(self) -> None:
        """Let :meth:`wait` return now."""
        os.eventfd_write(self._event, 1)

    def commit(self) -> None:
        """The drained records are in the trace: free their room."""
        lib.rings_commit(self.ring, 1)
