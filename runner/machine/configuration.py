"""The configuration space of PCI functions: which device answers an address there."""

from runner.machine.bus import Buses


class ConfigurationSpace:
    """The regions of a machine's devices in the space "pci" (:class:`runner.devices.services.Configuration`).

    A host bridge calls it under its own lock, and takes that of the function's device then: never the other way round.
    """

    def __init__(self, buses: Buses) -> None:
        self._buses = buses
        self._regions = [place for place in buses.places if place.region.space == "pci"]

    def _find(self, address: int, size: int) -> tuple[int, str, int] | None:
        """The device, its region and the offset there of an access that lies within one."""
        for device, region in self._regions:
            start = region.start
            if start is not None and start <= address and address + size <= start + region.size:
                return device, region.name, address - start
        return None

    def read(self, address: int, size: int) -> int:
        """Let a function answer."""
        if (found := self._find(address, size)) is None:
            return (1 << 8 * size) - 1
        index, region, offset = found
        with self._buses.holding(index) as device:
            return device.read(region, offset, size)

    def write(self, address: int, size: int, value: int) -> None:
        """Let a function take a write."""
        if (found := self._find(address, size)) is not None:
            index, region, offset = found
            with self._buses.holding(index) as device:
                device.write(region, offset, size, value)
