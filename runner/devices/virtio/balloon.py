"""The memory balloon (virtio 1.2, 5.5): the guest gives pages to the host, and takes them back.

A page that the guest gives, or reports as free, is returned to the host at once. It reads as zeros when the guest takes
it back, so the device keeps no list of pages.
"""

import struct
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from runner.devices.device import Board
from runner.devices.services import Chain
from runner.devices.state import State, bits
from runner.devices.virtio.device import VirtioDevice
from vmspec.registers import virtio
from vmspec.registers import virtio_balloon as R

MOST = 1 << 16  # bytes of page numbers in a chain; Linux has 1 KiB
WORD = (1 << 32) - 1


class BalloonState(State):
    """Pages that the device wants, and that the driver says it has given."""

    target: int = bits(WORD)
    actual: int = bits(WORD)


class Balloon(NamedTuple):
    """A balloon's state, in bytes: ``target`` is wanted of the guest, ``actual`` is what its driver has given.
    ``statistics`` are the guest's newest by name (5.5.6.3), empty before the first; counts are numbers, the rest
    bytes."""

    target: int
    actual: int
    statistics: Mapping[str, int]


class BalloonDevice(VirtioDevice):
    """The device. ``pages`` are wanted from the start."""

    number = virtio.BALLOON
    queue_sizes = (128, 128, 64, 64)
    features = R.STATS_VQ | R.DEFLATE_ON_OOM | R.PAGE_REPORTING
    state_class = BalloonState
    holds = (2,)  # the driver's buffer for statistics

    def __init__(self, pages: int = 0) -> None:
        self._target = pages
        self._actual = 0
        self._features = 0
        self._held: Chain | None = None
        self._statistics: Mapping[str, int] = MappingProxyType({})

    @classmethod
    def make(cls, options: Mapping[str, Any], board: Board) -> "BalloonDevice":
        return cls((options["size"] or 0) // R.PAGE)

    def configuration(self) -> bytes:
        return struct.pack("<II", self._target, self._actual)

    def configure(self, offset: int, data: bytes) -> None:
        if offset == R.ACTUAL and len(data) == 4:
            self._actual = int.from_bytes(data, "little")

    def begin(self, features: int) -> None:
        self._features = features

    def notified(self, queue: int) -> None:
        optional = [feature for feature in (R.STATS_VQ, R.PAGE_REPORTING) if self._features & feature]
        feature = optional[queue - 2] if 2 <= queue < 2 + len(optional) else None
        match queue, feature:
            case R.INFLATE, _:
                self.host.serve(queue, self._inflate)
            case R.DEFLATE, _:
                self.host.serve(queue, lambda chain: 0)
            case _, R.STATS_VQ:
                self.host.serve(queue, self._take_statistics)
            case _, R.PAGE_REPORTING:
                self.host.serve(queue, self._reported)

    def _inflate(self, chain: Chain) -> int:
        """Return the pages to the host. Those that are no RAM are ignored (5.5.6.1 allows RAM alone)."""
        if chain.readable > MOST:
            self.host.broken(f"the guest gives {chain.readable // 4} pages at once, more than {MOST // 4}")
            return 0
        data = chain.read(MOST)
        pages = sorted(set(struct.unpack(f"<{len(data) // 4}I", data[: len(data) & ~3])))
        start = 0
        for at, page in enumerate(pages, 1):
            if at == len(pages) or pages[at] != page + 1:
                self._discard(pages[start], at - start)
                start = at
        return 0

    def _discard(self, first: int, count: int) -> None:
        """Return neighbouring pages; one by one if not all are in one piece of RAM."""
        try:
            self.host.memory.discard(first * R.PAGE, count * R.PAGE)
        except ValueError:
            for page in range(first, first + count) if count > 1 else ():
                self._discard(page, 1)

    def _reported(self, chain: Chain) -> int:
        """The pages of the chain itself are free (5.5.6.5)."""
        chain.discard()
        return 0

    def _take_statistics(self, chain: Chain) -> None:
        """The driver's buffer, which it fills anew each time that it gets it back (5.5.6.3). It stays here until new
        ones are wanted; a driver that gives a second one gets the first back."""
        data = chain.read(R.STATISTIC * len(R.STATISTICS))
        found = struct.iter_unpack("<HQ", data[: len(data) // R.STATISTIC * R.STATISTIC])
        self._statistics = {R.STATISTICS[tag]: value for tag, value in found if tag < len(R.STATISTICS)}
        if self._held is not None:
            self.host.queues[2].put(self._held, 0)
        self._held = chain

    # The host's side

    def set_target(self, size: int) -> None:
        """Want so many bytes of the guest, in whole pages."""
        self._target = min(size // R.PAGE, WORD)
        self.host.reconfigured()

    def ask(self) -> None:
        """Ask the guest for new statistics."""
        if self._held is not None:
            self.host.queues[2].put(self._held, 0)
            self._held = None
            self.host.interrupt(2)

    def balloon(self) -> Balloon:
        """What is known now."""
        return Balloon(self._target * R.PAGE, self._actual * R.PAGE, self._statistics)

    # Life

    def reset(self) -> None:
        self._actual = 0
        self._features = 0
        self._held = None
        self._statistics = MappingProxyType({})

    def save(self) -> State:
        return BalloonState(target=self._target, actual=self._actual)

    def load(self, state: State) -> None:
        assert isinstance(state, BalloonState)
        self._target, self._actual = state.target, state.actual
