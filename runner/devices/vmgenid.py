"""The virtual machine generation ID: it tells a guest that it goes on from a snapshot."""

from collections.abc import Mapping
from typing import Any

from runner.devices.device import Board, Device
from runner.devices.state import State, octets
from vmspec.registers import vmgenid as R


class VmgenidState(State):
    """The generation that the guest can read."""

    generation: bytes = octets(R.SIZE, R.SIZE)


class Vmgenid(Device):
    """The ID can be read like memory, and comes from the plan: a machine that goes on from a snapshot has another plan.
    It does not take over the saved ID, and interrupts the guest if that was another one."""

    state_class = VmgenidState

    def __init__(self, generation: bytes) -> None:
        self.generation = generation

    @classmethod
    def make(cls, options: Mapping[str, Any], board: Board) -> "Vmgenid":
        return cls(bytes.fromhex(options["generation"]))

    def read(self, region: str, offset: int, size: int) -> int:
        return int.from_bytes(self.generation[offset : offset + size], "little")

    def reset(self) -> None:
        """It stays: the guest begins anew."""

    def load(self, state: State) -> None:
        saved = state if isinstance(state, VmgenidState) else VmgenidState.again(state)
        if saved.generation != self.generation:
            self.after(0)

    def tick(self) -> None:
        self.irq.pulse()
