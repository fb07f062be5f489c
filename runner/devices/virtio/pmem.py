"""The persistent memory device (virtio 1.2, 5.19): an image in guest memory. C answers its requests:
runner/native/pmem.c."""

from collections.abc import Mapping
from typing import Any

from runner.devices.device import Board
from runner.devices.services import MappedImage, Native
from runner.devices.state import State, StateError, bits
from runner.devices.virtio.device import VirtioDevice
from vmspec.registers import virtio as R


class PmemState(State):
    """Where the image lies that the driver knows. What is in it is memory, not the device's."""

    start: int = bits((1 << 64) - 1)
    size: int = bits((1 << 64) - 1)


class Pmem(VirtioDevice):
    """An image that the guest reads as memory. What it writes is in pages of this run alone."""

    number = R.PMEM
    state_class = PmemState
    queue_kinds = ("flush",)
    queue_sizes = (64,)

    def __init__(self, image: MappedImage) -> None:
        self._image = image

    @classmethod
    def make(cls, options: Mapping[str, Any], board: Board) -> "Pmem":
        return cls(board.backend())

    def native(self) -> Native:
        return self._image.native

    def configuration(self) -> bytes:
        return self._image.start.to_bytes(8, "little") + self._image.size.to_bytes(8, "little")

    def save(self) -> State:
        return PmemState(start=self._image.start, size=self._image.size)

    def load(self, state: State) -> None:
        assert isinstance(state, PmemState)
        if (state.start, state.size) != self._image[:2]:
            raise StateError(
                f"the saved image has {state.size} bytes at {state.start:#x}, and this one {self._image.size} at "
                f"{self._image.start:#x}"
            )
