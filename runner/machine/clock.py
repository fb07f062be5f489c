"""The source of a machine's time."""

import time


class HostClock:
    """The host's time (the :class:`runner.devices.services.Clock` protocol)."""

    def monotonic(self) -> int:
        """CLOCK_MONOTONIC, in ns."""
        return time.monotonic_ns()

    def realtime(self) -> int:
        """CLOCK_REALTIME, in ns."""
        return time.time_ns()
