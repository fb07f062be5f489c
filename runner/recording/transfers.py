"""The ring of transfers: the DMA of a machine with virtual time, on its way to the recorder."""

import mmap
import os
from typing import Any

from runner.native import _native
from runner.recording.columns import Buffers, Columns
from runner.recording.tablering import TableRing
from vmspec.trace.record import PAGE, RECORD_SIZE

ffi = _native.ffi
lib = _native.lib

SLOTS = 1 << 15  # transfers; a disk's request of 4 KiB has some ten
PAYLOAD = 1 << 23  # bytes: what such requests take while the recorder starts
SIZE = PAGE + SLOTS * RECORD_SIZE + PAYLOAD


class View:
    """A mapping of the ring, for either side."""

    def __init__(self, memory: int, event: int) -> None:
        self._mapping = mmap.mmap(memory, SIZE)
        self._buffer = ffi.from_buffer(self._mapping)
        self.ring = ffi.new("struct ring *")
        lib.ring_init(self.ring, self._buffer, SLOTS, PAYLOAD, lib.RING_WAIT, event)

    def close(self) -> None:
        """Unmap."""
        ffi.release(self._buffer)
        self._mapping.close()


class Transfers(View):
    """The VMM's side. The memory outlives the VMM if it is killed, because the recorder has it too. Raises OSError."""

    def __init__(self) -> None:
        self.descriptors: tuple[int, ...] = ()  # for the recorder: the memory, the eventfd of a filling ring
        try:
            self.descriptors = (os.memfd_create("transfers", os.MFD_CLOEXEC),)
            self.descriptors += (os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK),)
            os.ftruncate(self.descriptors[0], SIZE)
            super().__init__(*self.descriptors)
        except BaseException:
            self._release()
            raise

    @property
    def waiting(self) -> bool:
        """Whether the vCPU waits for room in the ring."""
        return bool(self.ring.control.waiting)

    def abandon(self) -> None:
        """Nobody consumes them any more: what comes is dropped and counted."""
        lib.ring_close(self.ring)

    def close(self) -> None:
        """Unmap and close."""
        super().close()
        self._release()

    def _release(self) -> None:
        for descriptor in self.descriptors:
            os.close(descriptor)


class TransferSource(View, TableRing):
    """The recorder's side, with ``clock`` of the trace. The caller closes the descriptors."""

    def __init__(self, memory: int, event: int, clock: dict[str, int]) -> None:
        View.__init__(self, memory, event)
        TableRing.__init__(self, self.ring, event, clock)
        self._columns: Columns[Any] = Columns(ffi.new("struct dma_columns *"))

    def drain(self, buffers: Buffers) -> int:
        """Fill the buffers with the next transfers; returns the rows."""
        with self._columns.of(buffers) as columns:
            return int(lib.dma_drain(self.ring, self._clock["tsc_start"], self._clock["tsc_khz"], columns))
