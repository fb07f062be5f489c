"""The places of accesses in the regions of devices: which window of a device, and where in it."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from vmspec.trace import keys


class Known(NamedTuple):
    """A region's name, its bytes, and where it starts; None: it moves, by multiples of its size."""

    name: str
    size: int
    start: int | None


class Regions:
    """The regions of a trace's devices, by the devices' names, from its metadata. What cannot be read is left out.

    A device with one region that never moves is left out too: its name and the address say as much.
    """

    def __init__(self, metadata: Mapping[str, str]) -> None:
        try:
            told = json.loads(metadata.get(keys.REGIONS, "{}"))
        except (ValueError, RecursionError):
            told = {}
        devices = told.items() if isinstance(told, dict) else ()
        known = {device: list(map(_known, regions)) for device, regions in devices if isinstance(regions, list)}
        self._of = {
            device: regions
            for device, regions in known.items()
            if len(regions) > 1 or any(region is not None and region.start is None for region in regions)
        }

    def __bool__(self) -> bool:
        return bool(self._of)

    def place(self, device: str, region: int, addr: int) -> str:
        """The device, its region by the number that rows have, and the offset there: "card0 bar2+0x40"; "" if that is
        not known."""
        regions = self._of.get(device, ())
        known = regions[region] if 0 <= region < len(regions) else None
        if known is None:
            return ""
        offset = addr % known.size if known.start is None else addr - known.start
        return f"{device} {known.name}+{offset:#x}" if 0 <= offset < known.size else ""


def _known(region: Any) -> Known | None:
    match region:
        case {"name": str(name), "size": int(size), "start": int() | None as start} if size > 0:
            return Known(name, size, start)
    return None
