"""The base of the device models."""

from vmspec.devices.regions import Region
from vmspec.schema.value import Model

PORTS = 0x10000
# Guest-physical addresses have at most 52 bits (Intel SDM volume 3, 4.1.4).
ADDRESSES = 1 << 52


class DeviceModel(Model):
    """Base of the device models."""

    __slots__ = ()

    @property
    def irq(self) -> int | None:
        """The ISA interrupt, which is also its GSI, or None."""
        return None

    def regions(self) -> tuple[Region, ...]:
        """The windows onto the buses, each name once."""
        return ()
