"""The pauses of each vCPU, kept beyond the room that the rings' control blocks have for them."""

import threading
from collections.abc import Sequence
from typing import Any

from vmspec.trace.record import PAUSES

KEPT = 100_000  # of all vCPUs together, because the closing summary has them all; later ones only count as time


class Pauses:
    """The pauses of rings, by their control blocks (``struct ring`` of C). Any thread may call its methods."""

    def __init__(self, rings: Sequence[Any]) -> None:
        self._rings = rings
        self._kept: list[list[tuple[int, int]]] = [[] for _ in rings]  # TSCs
        self._seen = [0] * len(rings)
        self._lock = threading.Lock()

    def keep(self) -> None:
        """Keep the pauses that have ended since the last call."""
        with self._lock:
            for index in range(len(self._rings)):
                self._keep(index)

    def known(self) -> list[list[tuple[int, int]]]:
        """All pauses of each vCPU: when each began and ended, as the host's TSC; 0 is the end of one under way."""
        with self._lock:
            under_way = [self._keep(index) for index in range(len(self._rings))]
            return [[*kept, *last] for kept, last in zip(self._kept, under_way, strict=True)]

    def _keep(self, index: int) -> list[tuple[int, int]]:
        """Keep the new pauses of a vCPU; returns the one under way, if there is one."""
        ring = self._rings[index]
        begun = ring.control.pauses
        for number in range(max(self._seen[index], begun - PAUSES), begun):
            entry = ring.pauses[number % PAUSES]
            pause = int(entry.begin), int(entry.end)
            if not pause[1]:
                return [pause]
            self._seen[index] = number + 1
            if len(self._kept[index]) < KEPT // len(self._rings):
                self._kept[index].append(pause)
        return []
