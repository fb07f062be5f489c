"""A distribution as a small plot: a histogram on an axis that others share, as the path of an SVG."""

import math
from collections.abc import Sequence
from typing import NamedTuple

BINS = 48
WIDE = 10  # an axis whose ends differ by this factor is logarithmic: one slow run leaves the others apart
WIDTH, HEIGHT = 240, 48  # of a plot, in its own units


class Axis(NamedTuple):
    """The values that a plot shows, from ``low`` to ``high`` in so many bins."""

    low: float
    high: float
    log: bool
    bins: int = BINS

    def place(self, value: float) -> float:
        """Where a value is, from 0 to 1."""
        if self.high == self.low:  # numbers so large that their neighbours are the same
            return 0.5
        low, high, at = (math.log(max(x, self.low)) if self.log else x for x in (self.low, self.high, value))
        return min(max((at - low) / (high - low), 0.0), 1.0)


def axis(values: Sequence[float], counted: bool) -> Axis:
    """The axis of these values; ``counted``: they are whole numbers."""
    low, high = min(values), max(values)
    if low > 0 and high / low >= WIDE:
        return Axis(low, high, True)
    if counted:  # each number in the middle of its bin
        return Axis(low - 0.5, high + 0.5, False, min(BINS, int(high - low) + 1))
    return Axis(low, high, False) if high > low else Axis(low - 1, high + 1, False)


def shares(values: Sequence[float], on: Axis) -> list[float]:
    """The share of the values in each bin."""
    counts = [0] * on.bins
    for value in values:
        counts[min(int(on.place(value) * on.bins), on.bins - 1)] += 1
    return [count / len(values) for count in counts]


def outline(heights: Sequence[float], most: float) -> str:
    """The path of a histogram's steps; ``most`` is the height of the plot."""
    width = WIDTH / len(heights)
    parts, before = [f"M0 {HEIGHT}"], 0.0
    for at, share in enumerate(heights):
        if share != before:
            parts.append(f"H{at * width:.1f}V{_level(share, most)}")
            before = share
    parts.append(f"H{WIDTH}V{HEIGHT}Z")
    return "".join(parts)


def _level(share: float, most: float) -> str:
    """The ordinate of a share. A single run of thousands is still seen."""
    tall = max(share / most * HEIGHT, 1.5) if share else 0
    return f"{HEIGHT - tall:.1f}"
