"""A port that stands for the processor's TSC, which the vCPU loop answers (answer_tsc() in runner/native/vcpu.c)."""

from runner.devices.debug import Stateless
from runner.devices.state import State


class TSCState(State):
    """No state."""


class TSC(Stateless):
    """What the loop does not answer: accesses that are no IN of a byte into AL, by which no RDTSC was replaced."""

    state_class = TSCState

    def start(self) -> None:
        self.bus.shadow("counter", 0, 0)
        self.bus.writes("counter", 0, "ignored")

    def read(self, region: str, offset: int, size: int) -> int:
        return 0
