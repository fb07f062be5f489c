"""The frames of network devices, from the closing summary: how many they moved, and why they dropped others.

A run that continues or was killed has none of these counts. The table of requests has each frame that a driver got or
gave, but none that was dropped on its way to the driver.
"""

from collections.abc import Mapping
from typing import Any

from tracer.analysis.tables import table
from tracer.read.reader import Trace
from vmspec.trace.frames import COUNTS, DROPPED, MOVED

# The columns of the table of them.
FRAMES = (
    ("device", "utf8", "", "the network device"),
    *((name, "int64", "", doc) for name, doc in MOVED.items()),
    ("dropped", "int64", "", "frames that the device dropped: the sum of the columns that follow"),
    *((name, "int64", "", f"dropped: {doc}") for name, doc in DROPPED.items()),
)


def counted(trace: Trace) -> dict[str, dict[str, int]]:
    """Each count of :data:`vmspec.trace.frames.COUNTS` by device, in the order of the trace; 0 if it was not said."""
    said: Mapping[str, Mapping[str, int]] = (trace.summary or {}).get("frames", {})
    return {device: {name: counts.get(name, 0) for name in COUNTS} for device, counts in said.items()}


def dropped(counts: Mapping[str, int]) -> int:
    """How many frames one device dropped."""
    return sum(counts[name] for name in DROPPED)


def by_device(trace: Trace) -> Any:
    """The counts of each network device: a ``pyarrow.Table``."""
    return table(FRAMES, [
        (device, *(counts[name] for name in MOVED), dropped(counts), *(counts[name] for name in DROPPED))
        for device, counts in counted(trace).items()
    ])  # fmt: skip


def told(counts: Mapping[str, int]) -> str:
    """What one device made of its frames, in words."""
    moved = ", ".join(f"{counts[name]:,} {name}" for name in MOVED)
    reasons = ", ".join(f"{counts[name]:,} {name}" for name in DROPPED if counts[name])
    return f"{moved}, {dropped(counts):,} dropped ({reasons})" if reasons else f"{moved}, none dropped"


def notes(trace: Trace) -> tuple[str, ...]:
    """A sentence for each device that dropped frames."""
    return tuple(f"{device}: frames {told(counts)}." for device, counts in counted(trace).items() if dropped(counts))
