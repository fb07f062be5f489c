"""fw_cfg: gives firmware items of bytes, through a port or into its memory (QEMU, docs/specs/fw_cfg.rst)."""

import struct
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from runner.devices.device import Board, Device
from runner.devices.state import State, bits, number
from vmspec.registers import fwcfg as R

CHUNK = 1 << 20  # bytes copied at once
OFFSET_MOST = (1 << 32) - 1


class Item(NamedTuple):
    """An item: its size, and what returns so many of its bytes from an offset on."""

    size: int
    read: Callable[[int, int], bytes]


def of(data: bytes) -> Item:
    """The item with these bytes."""
    return Item(len(data), lambda at, size: data[at : at + size])


class FwCfgState(State):
    """The selected item, how far it has been read, and the half of an address that waits for the other."""

    key: int = bits(0xFFFF)
    offset: int = number(0, OFFSET_MOST)
    high: int = bits(0xFFFFFFFF)


class FwCfg(Device):
    """The device with the items by their keys. An item that it does not have is empty; after its last byte any item
    goes on with zeros. Nothing can be written to an item."""

    state_class = FwCfgState

    def __init__(self, items: Mapping[int, Item]) -> None:
        self._items = items
        self._key = self._offset = self._high = 0

    @classmethod
    def make(cls, options: Mapping[str, Any], board: Board) -> "FwCfg":
        return cls(board.backend())

    def reset(self) -> None:
        self._key = self._offset = self._high = 0

    def read(self, region: str, offset: int, size: int) -> int:
        match region, offset, size:
            case "registers", R.DATA, 1:
                return self._next(1)[0]
            case "dma", _, _:
                return int.from_bytes(R.PRESENT[offset : offset + size], "little")
        return super().read(region, offset, size)  # nothing answers

    def write(self, region: str, offset: int, size: int, value: int) -> None:
        match region, offset, size:
            case "registers", R.SELECTOR, 2:
                self._select(value)
            case "dma", R.HIGH, 4:
                self._high = _swapped(value, 4)
            case "dma", R.LOW, 4:
                self._transfer(self._high << 32 | _swapped(value, 4))
            case "dma", R.HIGH, 8:
                self._transfer(_swapped(value, 8))

    def _select(self, key: int) -> None:
        self._key, self._offset = key & ~R.WRITE, 0

    def _next(self, size: int) -> bytes:
        """The next bytes of the selected item."""
        item = self._items.get(self._key)
        rest = 0 if item is None else max(0, item.size - self._offset)
        data = b"" if item is None or not rest else item.read(self._offset, min(size, rest))
        self._skip(size)
        return data.ljust(size, b"\0")  # a file may have become shorter

    def _skip(self, size: int) -> None:
        self._offset = min(self._offset + size, OFFSET_MOST)

    def _transfer(self, at: int) -> None:
        """Do what the structure at an address of the guest's asks for. It is read once."""
        self._high = 0
        error = R.ERROR
        try:
            control, length, address = struct.unpack(R.TRANSFER, self.memory.read(at, struct.calcsize(R.TRANSFER)))
        except ValueError:
            pass
        else:
            if control & R.SELECT:
                self._select(control >> 16)
            error = 0 if self._asked(control, length, address) else R.ERROR
        try:
            self.memory.write(at, error.to_bytes(4, "big"))
        except ValueError:
            return  # nobody can be told

    def _asked(self, control: int, length: int, address: int) -> bool:
        """Whether a transfer of so many bytes succeeds."""
        if control & R.READ:
            return self._copy(length, address)
        if control & R.PUT:
            return length == 0
        if control & R.SKIP:
            self._skip(length)
        return True

    def _copy(self, length: int, address: int) -> bool:
        for done in range(0, length, CHUNK):
            size = min(CHUNK, length - done)
            try:
                self.memory.write(address + done, self._next(size))
            except ValueError:
                return False
        return True


def _swapped(value: int, size: int) -> int:
    """A number of a register whose first byte is the highest."""
    return int.from_bytes(value.to_bytes(size, "little"), "big")
