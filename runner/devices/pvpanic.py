"""pvpanic: the guest reports its own crash by a port (QEMU, docs/specs/pvpanic.rst)."""

from collections.abc import Callable, Mapping
from typing import Any

from runner.devices.debug import Stateless
from runner.devices.device import Board
from runner.devices.state import State
from vmspec.registers import pvpanic as R


class PvpanicState(State):
    """No state."""


class Pvpanic(Stateless):
    """A panic ends the run. If a crash kernel handles the crash, the guest continues, and the user gets a notice."""

    state_class = PvpanicState

    def __init__(self, notice: Callable[[str], None] = lambda text: None) -> None:
        self._notice = notice

    @classmethod
    def make(cls, options: Mapping[str, Any], board: Board) -> "Pvpanic":
        return cls(board.notice)

    def start(self) -> None:
        self.bus.shadow("port", 0, R.EVENTS)

    def read(self, region: str, offset: int, size: int) -> int:
        return R.EVENTS

    def write(self, region: str, offset: int, size: int, value: int) -> None:
        if value & R.PANICKED:
            self.end("guest-panic", None)
        elif value & R.CRASHLOADED:
            self._notice("the guest has crashed, and continues with its crash kernel (pvpanic)")
        elif value & R.SHUTDOWN:
            self.end("poweroff", None)
