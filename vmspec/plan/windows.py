"""The windows of the PCI host bridge, in which the base address registers of PCI functions lie."""

from vmspec import layout
from vmspec.plan.calls import Slot
from vmspec.plan.plan import PlannedDevice

Window = tuple[str, int, int]  # space, start, size


def windows(bridge: PlannedDevice, slots: tuple[Slot, ...]) -> tuple[Window, ...]:
    """The bridge's windows; ``slots`` are RAM."""
    return chipset(bridge.options["chipset"], slots)


def chipset(name: str | None, slots: tuple[Slot, ...]) -> tuple[Window, ...]:
    """The windows of a bridge of this chipset. UEFI firmware places functions anew, from the end of RAM on."""
    if name != "q35":
        return layout.PCI_WINDOWS
    low = max(layout.Q35_MEMORY, slots[0].start + slots[0].size)
    memory, ports = ("mmio", low, layout.Q35_MEMORY_END - low), ("port", layout.PCI_IO, layout.PCI_IO_SIZE)
    return memory, ports
