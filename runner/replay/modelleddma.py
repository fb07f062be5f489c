"""The transfers of device models that a recording is fed to."""

from runner.kvm.errors import HostError
from runner.machine.dma import DMA
from runner.memory import GuestMemory
from runner.native._native import ffi, lib
from vmspec.trace.dma import DIRECTIONS, Transfer
from vmspec.trace.record import PAGE, RECORD_SIZE

SLOTS = 1 << 12
PAYLOAD = 1 << 20  # bytes


class ModelledDMA(DMA):
    """Adds transfers to the list ``done``, at time and exit 0: what a device has done is there when it has acted."""

    def __init__(self, memory: GuestMemory) -> None:
        self.done: list[Transfer] = []
        self._failed: BaseException | None = None
        self._here = ffi.new("uint8_t[]", PAGE + SLOTS * RECORD_SIZE + PAYLOAD)
        self._bytes = ffi.new("uint8_t[]", lib.DMA_PIECE)
        self._taken = ffi.new("struct dma_transfer *")
        self._ring = ffi.new("struct ring *")
        lib.ring_init(self._ring, self._here, SLOTS, PAYLOAD, lib.RING_DROP, -1)
        super().__init__(memory, self._ring, full=self._make_room)

    def take(self) -> None:
        """Take from the ring what is there."""
        one = self._taken
        while lib.dma_take(self._ring, one, self._bytes):
            data = bytes(ffi.buffer(self._bytes, one.length))
            self.done.append(Transfer(0, 0, one.seq, one.device, DIRECTIONS[one.read], one.address, data))

    def _make_room(self) -> None:
        """The ring is full. C calls this, which passes no exception on: :meth:`acted` raises it."""
        try:
            self.take()
        except BaseException as error:
            self._failed = self._failed or error

    def acted(self) -> None:
        """The call has ended. Raises HostError if this process had too little memory for its transfers, and what came
        while they were taken, such as KeyboardInterrupt."""
        super().acted()
        failed, self._failed = self._failed, None
        try:
            if failed is not None:
                raise failed
            self.take()
        except MemoryError as error:
            raise HostError("too little memory for what a device's model reads and writes at one exit") from error
        assert not self._ring.control.dropped  # any piece has room in an empty ring
