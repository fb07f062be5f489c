"""Ports for debugging a guest: no state, no interrupt."""

from runner.devices.device import Device
from runner.devices.state import State
from vmspec.registers import debug as R


class Stateless(Device):
    """A device that remembers nothing."""

    def reset(self) -> None:
        """Nothing to reset."""


class DebugPortState(State):
    """No state."""


class PostPortState(State):
    """No state."""


class DebugExitState(State):
    """No state."""


class DebugPort(Stateless):
    """Bochs' debug console: each byte written is console text."""

    state_class = DebugPortState

    def start(self) -> None:
        self.bus.shadow("port", 0, R.PRESENT)
        self.bus.writes("port", 0, "coalesced")

    def read(self, region: str, offset: int, size: int) -> int:
        return R.PRESENT

    def write(self, region: str, offset: int, size: int, value: int) -> None:
        self.output(bytes((value,)))

    def written(self, region: str, offset: int, size: int, data: bytes) -> None:
        self.output(data)


class PostPort(Stateless):
    """The power-on self-test code port. Codes are recorded in the trace only; reads return all ones."""

    state_class = PostPortState

    def start(self) -> None:
        self.bus.shadow("port", 0, 0xFF)
        self.bus.writes("port", 0, "ignored")


class DebugExit(Stateless):
    """QEMU's isa-debug-exit: writing N, in any width, ends the run with status ``(N << 1) | 1``, modulo 256."""

    state_class = DebugExitState

    def read(self, region: str, offset: int, size: int) -> int:
        return 0

    def write(self, region: str, offset: int, size: int, value: int) -> None:
        self.end("debug-exit", R.exit_status(value))
