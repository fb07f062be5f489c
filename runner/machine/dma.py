"""What devices write to the guest's memory and read there, in a machine with virtual time, for its recording."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from runner.memory import GuestMemory
from runner.native._native import ffi, lib

if TYPE_CHECKING:
    from runner.native import _native


class DMA:
    """Keeps the transfers of the thread that calls :meth:`begin`, the vCPU's. There, devices act between an exit and
    the next entry, so the guest finds all of them at once when it goes on.

    C puts them into ``ring``, with the number of exits in the ring ``exits``, 0 without one. ``full``, if given, is
    called when the ring has no room, and makes some.
    """

    def __init__(
        self,
        memory: GuestMemory,
        ring: "_native.RingPointer",
        exits: "_native.RingPointer | None" = None,
        full: Callable[[], None] | None = None,
    ) -> None:
        self._full = full
        self._handle = ffi.new_handle(self)
        self._native = ffi.new("struct dma *", {"memory": memory.table, "ring": ring, "handle": self._handle})
        if exits is not None:
            self._native.exits = exits
        if full is not None:
            self._native.full = lib.dma_full
        self._keep = memory, ring, exits

    def begin(self) -> None:
        """Keep what devices do in the calling thread."""
        lib.dma_begin(self._native)

    @staticmethod
    def end() -> None:
        """Keep nothing of the calling thread, until it begins again."""
        lib.dma_begin(ffi.NULL)

    @staticmethod
    def acts(device: int) -> None:
        """The device with this index is called."""
        lib.dma_acts(device)

    def acted(self) -> None:
        """The call has ended: its transfers are in the ring."""
        lib.dma_acted()

    def make_room(self) -> None:
        """The ring is full."""
        assert self._full is not None
        self._full()


@ffi.def_extern()
def dma_full(handle: object) -> None:
    """The ring is full."""
    ffi.from_handle(handle).make_room()
