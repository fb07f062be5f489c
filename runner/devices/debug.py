"""Ports that exist for the sake of whoever debugs a guest: no state, no interrupt."""

from runner.devices.device import Device
from runner.devices.state import State

PRESENT = 0xE9  # what a read of the debug port gives, so that a guest can tell it is there


class Stateless(Device):
    """A device that remembers nothing."""

    def reset(self) -> None:
        """There is nothing to reset."""


class DebugPortState(State):
    """Nothing."""


class PostPortState(State):
    """Nothing."""


class DebugExitState(State):
    """Nothing."""


class DebugPort(Stateless):
    """Bochs' debug console: each byte written is console text."""

    state_class = DebugPortState

    def start(self) -> None:
        self.bus.shadow("port", 0, PRESENT)
        self.bus.writes("port", 0, "coalesced")

    def read(self, region: str, offset: int, size: int) -> int:
        return PRESENT

    def write(self, region: str, offset: int, size: int, value: int) -> None:
        self.output(bytes((value,)))

    def written(self, region: str, offset: int, size: int, data: bytes) -> None:
        self.output(data)


class PostPort(Stateless):
    """The power-on self-test code port. Codes are in the trace; here they are thrown away, and reads are all ones."""

    state_class = PostPortState

    def start(self) -> None:
        self.bus.shadow("port", 0, 0xFF)
        self.bus.writes("port", 0, "ignored")


class DebugExit(Stateless):
    """QEMU's isa-debug-exit: a write of N, of any width, ends the run with status ``(N << 1) | 1``, modulo 256."""

    state_class = DebugExitState

    def read(self, region: str, offset: int, size: int) -> int:
        return 0

    def write(self, region: str, offset: int, size: int, value: int) -> None:
        self.end("debug-exit", (value << 1 | 1) & 0xFF)
