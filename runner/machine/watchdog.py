"""The watchdog of virtual time: a guest that waits for time without making exits waits for ever."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from runner.loop import Loop
from runner.machine.clock import HostClock
from runner.machine.result import Ending

if TYPE_CHECKING:
    from runner.machine.vcpu import VcpuThread
    from runner.machine.virtual import VirtualTime

MOST = 1.0  # seconds between two looks


class Watchdog:
    """Ends a run whose vCPU has been in the guest for ``limit`` ns of the host's ``clock`` without an exit.

    Before it does, it makes the vCPU leave the guest: only one that KVM_RUN returns for was there. ``interrupted``
    counts these returns; ``runs`` is whether the machine is not paused. All calls are made by ``loop``.
    """

    def __init__(
        self, limit: int, loop: Loop, clock: HostClock, time: "VirtualTime", thread: "VcpuThread",
        interrupted: Callable[[], int], runs: Callable[[], bool], end: Callable[[Ending], None],
    ) -> None:  # fmt: skip
        self._limit = limit
        self._loop = loop
        self._clock = clock
        self._time = time
        self._thread = thread
        self._interrupted = interrupted
        self._runs = runs
        self._end = end
        self._exits = -1  # that the guest had made at the last look
        self._since = 0  # when it was first seen to have made no more
        self._kicked: int | None = None  # the returns when the vCPU was made to leave

    def look(self) -> None:
        """Look whether the guest makes exits, and look again later."""
        exits = sum(self._thread.counts)
        if exits != self._exits or not self._time.in_guest:
            self._exits, self._since, self._kicked = exits, self._clock.monotonic(), None
        elif self._runs() and self._clock.monotonic() - self._since >= self._limit:
            if self._kicked is None:
                self._kicked = self._interrupted()
                self._thread.kick()
            elif self._interrupted() != self._kicked:
                detail = (
                    f"the guest made no exit for {self._limit / 1e9:g} s after its {exits:,} exits: its time, which "
                )
                self._end(Ending("spun", detail=f"{detail}passes with exits, stands still"))
                return
        self._loop.after(min(self._limit / 4e9, MOST), self.look)
