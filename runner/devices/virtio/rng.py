"""The entropy device (virtio 1.2, 5.4)."""

from collections.abc import Mapping
from typing import Any

from runner.devices.device import Board
from runner.devices.services import Chain
from runner.devices.state import State, bits
from runner.devices.virtio.device import VirtioDevice
from vmspec.registers import virtio as R

MOST = 1 << 16  # bytes of an answer; a driver takes what it gets (5.4.6.1)
BLOCK = 64


class RngState(State):
    """How many bytes the guest has got from the seed."""

    given: int = bits((1 << 64) - 1)


class Rng(VirtioDevice):
    """Random bytes, of the host's or from a seed: then the same after each reset, in the order of the requests.

    The bytes of a seed are the blocks BLAKE2b(block's number, key = seed), as RFC 7693 has it, one after another.
    """

    number = R.ENTROPY
    queue_sizes = (64,)
    queue_kinds = ("entropy",)
    state_class = RngState

    def __init__(self, seed: int | None = None) -> None:
        self._key = None if seed is None else seed.to_bytes(8, "little")
        self._given = 0

    @classmethod
    def make(cls, options: Mapping[str, Any], board: Board) -> "Rng":
        return cls(options["seed"])

    def request(self, queue: int, chain: Chain) -> int:
        return chain.write(self._bytes(min(chain.writable, MOST)))

    def _bytes(self, size: int) -> bytes:
        if self._key is None:
            return self.host.random(size)
        from hashlib import blake2b  # late: few guests have a seed

        first, skip = divmod(self._given, BLOCK)
        last = (self._given + size + BLOCK - 1) // BLOCK
        self._given = self._given + size & (1 << 64) - 1
        blocks = (blake2b(at.to_bytes(8, "little"), key=self._key).digest() for at in range(first, last))
        return b"".join(blocks)[skip : skip + size]

    def reset(self) -> None:
        self._given = 0

    def save(self) -> State:
        return RngState(given=self._given)

    def load(self, state: State) -> None:
        assert isinstance(state, RngState)
        self._given = state.given
