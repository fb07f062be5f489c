"""What a machine gives to its devices."""

from typing import Protocol


class Clock(Protocol):
    """The machine's time, and the only one that devices know. Both are in nanoseconds."""

    def monotonic(self) -> int:
        """The time since a moment of the clock's own: it never goes back and nobody sets it (CLOCK_MONOTONIC)."""

    def realtime(self) -> int:
        """The date: the time since 1970-01-01 UTC, which somebody may set at any moment (CLOCK_REALTIME)."""
