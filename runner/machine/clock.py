"""The source of a machine's time."""

import threading
import time


class HostClock:
    """The host's time (the :class:`runner.devices.services.Clock` protocol), which can be stopped."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stopped: int | None = None  # its time while it is stopped
        self._behind = 0  # ns that it was stopped for

    def monotonic(self) -> int:
        """CLOCK_MONOTONIC without the time in which the clock was stopped, in ns."""
        with self._lock:
            return time.monotonic_ns() - self._behind if self._stopped is None else self._stopped

    def stop(self) -> None:
        """Stop :meth:`monotonic`. :meth:`realtime` continues, as a PC's clock does on its battery."""
        now = self.monotonic()
        with self._lock:
            self._stopped = now

    def go_on(self) -> None:
        """Continue from the time of :meth:`stop`."""
        with self._lock:
            assert self._stopped is not None
            self._behind = time.monotonic_ns() - self._stopped
            self._stopped = None

    def realtime(self) -> int:
        """CLOCK_REALTIME, in ns."""
        return time.time_ns()
