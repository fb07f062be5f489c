"""What devices write to the guest's memory and read there, in a machine with virtual time, for its recording."""

import threading
from collections.abc import Callable
from struct import Struct

from runner.memory import GuestMemory
from runner.native._native import ffi, lib
from vmspec.trace.dma import DIRECTIONS, Transfer

TRANSFER = Struct("<QII")  # struct dma_transfer


class DMA:
    """Keeps the transfers of the thread that calls :meth:`begin`, the vCPU's. There, devices act between an exit and
    the next entry, so the guest finds all of them at once when it goes on.

    ``keep`` gets them after each call of a device, or as soon as C's buffer of 1 MiB is full. ``place`` returns the
    time, the vCPU and the number of exits that it has completed.
    """

    def __init__(
        self, memory: GuestMemory, place: Callable[[], tuple[int, int, int]], keep: Callable[..., None]
    ) -> None:
        self._memory, self._place, self._keep = memory, place, keep
        self._device = -1  # the one that acts
        self._thread: int | None = None
        self._handle = ffi.new_handle(self)
        self._failure: BaseException | None = None

    def begin(self) -> None:
        """Keep what devices do in the calling thread."""
        if self._thread is None:
            self._native = ffi.new("struct dma *", {"memory": self._memory.table, "handle": self._handle})
            self._native.full = lib.dma_full
            self._thread = threading.get_ident()
        lib.dma_begin(self._native)

    @staticmethod
    def end() -> None:
        """Keep nothing of the calling thread, until it begins again."""
        lib.dma_begin(ffi.NULL)

    def acts(self, device: int) -> None:
        """The device with this index is called."""
        if threading.get_ident() == self._thread:
            self._device = device

    def acted(self) -> BaseException | None:
        """The call has ended. Returns what has kept its transfers from being kept."""
        if threading.get_ident() != self._thread:
            return None
        if self._native.used:
            self.pass_on()
        failure, self._failure = self._failure, None
        return failure

    def pass_on(self) -> None:
        """Pass on what C has kept. An error waits until the device's call has ended: C cannot raise it."""
        try:
            self._pass_on()
        except BaseException as error:
            self._failure = error

    def _pass_on(self) -> None:
        used, at, transfers = self._native.used, 0, []
        kept = ffi.buffer(self._native.kept, used)[:]
        place = self._place()
        while at < used:
            address, length, read = TRANSFER.unpack_from(kept, at)
            at += TRANSFER.size + length
            data = kept[at - length : at]
            transfers.append(Transfer(*place, self._device, DIRECTIONS[read], address, data))
        self._native.used = 0
        self._keep(*transfers)


@ffi.def_extern()
def dma_full(handle: object) -> None:
    """C's buffer is full."""
    ffi.from_handle(handle).pass_on()
