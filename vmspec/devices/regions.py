"""The windows of a device onto the buses."""

from typing import NamedTuple

# Their ends. mmio: Intel SDM volume 3, 4.1.4. pci: configuration space, 256 buses (PCI Express 4.0, 7.2.2).
SPACES = {"port": 1 << 16, "mmio": 1 << 52, "pci": 1 << 28}


class Region(NamedTuple):
    """A device's window onto a bus. The guest reaches the device by (region, offset), wherever the region lies.

    ``space`` is "port", "mmio" or "pci", ``size`` in bytes. The guest reaches the space "pci", the configuration space
    of PCI functions, through a host bridge. A region with a ``start`` always lies there. A region without one
    is mapped, moved and unmapped by the device while the machine runs, as a PCI function does with its BARs. Such a
    region's size is a power of two and its address a multiple of the size, so the low bits of an address are the
    offset.
    """

    name: str
    space: str
    size: int
    start: int | None = None
