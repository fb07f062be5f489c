"""Where a device is on the buses."""

from typing import NamedTuple


class Range(NamedTuple):
    """A bus range that a device claims: space is "port" or "mmio"."""

    space: str
    start: int
    size: int
