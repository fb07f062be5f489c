"""The block device (virtio 1.2, 5.2): configuration and write cache. C answers its requests."""

import struct
from collections.abc import Mapping
from typing import Any

from runner.devices.device import Board
from runner.devices.services import Disk, Native
from runner.devices.state import State, StateError, bits, flag
from runner.devices.virtio.device import VirtioDevice
from vmspec.registers import virtio as R

QUEUE_SIZE = 256
SEGMENTS = QUEUE_SIZE - 2  # a request has a header and a status too
SECTOR = 512
CONFIGURATION = struct.Struct("<QIIHBBIBBHIBxHIIIIIB3x")


class BlkState(State):
    """The disk that the driver knows, and whether it has a write cache. What is on the disk is not saved."""

    sectors: int = bits((1 << 64) - 1)
    writeback: bool = flag()


class Blk(VirtioDevice):
    """A disk. Without a write cache, each write is durable before it is answered; with one, what a flush covers.

    There is none unless the driver can flush (5.2.6.2), and a driver may switch it off (CONFIG_WCE).
    """

    number = R.BLOCK
    state_class = BlkState

    def __init__(self, disk: Disk, queues: int = 1, serial: str = "", writeback: bool = True) -> None:
        self._disk, self._serial = disk, serial
        self.queue_sizes = (QUEUE_SIZE,) * queues
        self._initial = self._writeback = writeback
        self._features = 0
        self.features = R.BLK_SEG_MAX | R.BLK_BLK_SIZE | R.BLK_TOPOLOGY | R.BLK_FLUSH | R.BLK_CONFIG_WCE | R.BLK_MQ
        self.features |= R.BLK_RO if disk.read_only else R.BLK_DISCARD | R.BLK_WRITE_ZEROES

    @classmethod
    def make(cls, options: Mapping[str, Any], board: Board) -> VirtioDevice:
        if options["format"] != "raw":
            from runner.devices.virtio.vhostuser import StoredDisk  # late: few disks are images of a format

            return StoredDisk.make(options, board)
        return cls(board.backend(), options["queues"], options["serial"], options["cache"] == "writeback")

    def native(self) -> Native:
        return self._disk.native(self._serial.encode())

    def configuration(self) -> bytes:
        exponent = max(0, (self._disk.physical_block // self._disk.block).bit_length() - 1)
        return CONFIGURATION.pack(
            self._disk.sectors,
            0,  # size_max is not offered
            SEGMENTS,
            0, 0, 0,  # nor is the geometry
            self._disk.block,
            exponent, 0, 1, 0,  # physical blocks begin at the first sector
            self._cached(),
            len(self.queue_sizes),
            *self._disk.discard_limits, self._disk.block // SECTOR,
            *self._disk.zero_limits, 1,
        )  # fmt: skip

    def configure(self, offset: int, data: bytes) -> None:
        at = R.BLK_WRITEBACK - offset
        if self._features & R.BLK_CONFIG_WCE and 0 <= at < len(data):
            self._writeback = bool(data[at])
            self._settle()

    def negotiated(self, features: int) -> None:
        self._features = features
        self._settle()

    def _cached(self) -> bool:
        """Whether there is a write cache; before the features are settled, as if all were accepted."""
        return self._writeback and bool(self._features & R.BLK_FLUSH or not self._features)

    def _settle(self) -> None:
        self._disk.set_stable(not self._cached())

    def troubled(self) -> None:
        if (what := self._disk.failure()) is not None:
            self.host.notice(what)

    def reset(self) -> None:
        self._features, self._writeback = 0, self._initial
        self._settle()

    def save(self) -> State:
        return BlkState(sectors=self._disk.sectors, writeback=self._writeback)

    def load(self, state: State) -> None:
        assert isinstance(state, BlkState)
        if state.sectors != self._disk.sectors:
            raise StateError(f"the saved disk has {state.sectors} sectors, and this one {self._disk.sectors}")
        self._writeback = state.writeback
        self._settle()
