"""Flash memory with Intel's command set, in which UEFI firmware keeps its variables (:mod:`vmspec.registers.flash`).

The guest reads the array without exits while the memory is in that mode. Each write is an exit, since it is a command.
"""

from collections.abc import Mapping
from typing import Any

from runner.devices.device import Board, Device, LostError
from runner.devices.services import FlashImage, Services
from runner.devices.state import State, bits, one_of
from vmspec.registers import flash as R

MODES = (R.READ_ARRAY, R.READ_IDENTIFIER, R.READ_STATUS, R.PROGRAM, R.ERASE)


class FlashState(State):
    """The command under way and the status. The contents are in the file, as a disk's are."""

    mode: int = one_of(*MODES)
    status: int = bits(R.READY | R.ERASE_ERROR | R.PROGRAM_ERROR)


class Flash(Device):
    """The device. As in real flash memory, programming only clears bits, and erasing sets all of a block."""

    state_class = FlashState

    def __init__(self, image: FlashImage) -> None:
        self._image = image
        self._mode, self._status = R.READ_ARRAY, R.READY

    @classmethod
    def make(cls, options: Mapping[str, Any], board: Board) -> "Flash":
        return cls(board.backend())

    def attach(self, services: Services) -> None:
        self._direct = services.direct("array", self._image.fd)
        super().attach(services)

    def start(self) -> None:
        self._direct(self._mode == R.READ_ARRAY)

    def reset(self) -> None:
        self._status = R.READY
        self._enter(R.READ_ARRAY)

    def load(self, state: State) -> None:
        super().load(state)
        self._direct(self._mode == R.READ_ARRAY)

    def _enter(self, mode: int) -> None:
        if (mode == R.READ_ARRAY) != (self._mode == R.READ_ARRAY):
            self._direct(mode == R.READ_ARRAY)
        self._mode = mode

    def read(self, region: str, offset: int, size: int) -> int:
        match self._mode:
            case R.READ_ARRAY:
                return int.from_bytes(self._image.read(offset, size), "little")
            case R.READ_IDENTIFIER:
                identifier = {0: R.MANUFACTURER, 1: R.DEVICE}
                return int.from_bytes((identifier.get(at & 0xFF, 0) for at in range(offset, offset + size)), "little")
            case _:
                return int.from_bytes(bytes([self._status]) * size, "little")

    def write(self, region: str, offset: int, size: int, value: int) -> None:
        for at, byte in enumerate(value.to_bytes(size, "little"), offset):
            try:
                self._write(at, byte)
            except OSError as error:
                raise LostError(f"its file cannot be written: {error.strerror}") from error

    def _write(self, at: int, byte: int) -> None:
        match self._mode, byte:
            case R.PROGRAM, _:
                (old,) = self._image.read(at, 1)
                self._image.write(at, bytes([old & byte]))
                self._done(0)
            case R.ERASE, R.CONFIRM:
                self._image.write(at - at % R.BLOCK, bytes([R.ERASED]) * R.BLOCK)
                self._done(0)
            case R.ERASE, _:
                self._done(R.ERASE_ERROR | R.PROGRAM_ERROR)
            case _, R.PROGRAM | R.PROGRAM_OLD:
                self._enter(R.PROGRAM)
            case _, R.ERASE | R.READ_STATUS | R.READ_IDENTIFIER:
                self._enter(byte)
            case _, R.CLEAR_STATUS:
                self._status = 0
                self._enter(R.READ_ARRAY)
            case _:
                self._enter(R.READ_ARRAY)

    def _done(self, errors: int) -> None:
        """A command has been carried out: the memory reads as its status now."""
        self._status |= R.READY | errors
        self._enter(R.READ_STATUS)
