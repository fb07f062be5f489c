"""Guest RAM as KVM slots, Linux's memory map, and the whole guest-physical map for people."""

from vmspec import layout
from vmspec.plan.calls import Slot
from vmspec.plan.plan import E820, Area, PlannedDevice
from vmspec.plan.windows import windows

USABLE, RESERVED = 1, 2


def slots(memory: int) -> tuple[Slot, ...]:
    """``memory`` bytes of RAM: up to the hole, the rest above 4 GiB."""
    low = min(memory, layout.HOLE_START)
    lower = Slot(0, 0, low, 0)
    return (lower,) if memory == low else (lower, Slot(1, layout.HOLE_END, memory - low, low))


def is_ram(slots: tuple[Slot, ...], address: int, size: int) -> bool:
    """Whether ``[address, address + size)`` lies within one slot."""
    return any(slot.start <= address and address + size <= slot.start + slot.size for slot in slots)


def e820(slots: tuple[Slot, ...], pci: bool = False) -> tuple[E820, ...]:
    """The PC's map: base memory, the BIOS's places, RAM from 1 MiB to the hole and from 4 GiB on; with ``pci`` the
    configuration space in memory, which Linux uses only if it is reserved (arch/x86/pci/mmconfig-shared.c)."""
    low, *rest = plain_e820(slots, pci)
    return (
        E820(0, layout.EBDA, USABLE),
        E820(layout.EBDA, layout.BASE_MEMORY_END - layout.EBDA, RESERVED),
        E820(layout.BIOS, layout.HIGH_MEMORY - layout.BIOS, RESERVED),
        E820(layout.HIGH_MEMORY, low.size - layout.HIGH_MEMORY, USABLE),
        *rest,
    )


def plain_e820(slots: tuple[Slot, ...], pci: bool = False) -> tuple[E820, ...]:
    """The map of firmware, which reserves its own places in RAM."""
    low, *high = slots
    return (
        E820(0, low.size, USABLE),
        *((E820(layout.PCI_ECAM, layout.PCI_ECAM_SIZE, RESERVED),) if pci else ()),
        # Not RAM, but Linux must not assign these addresses to a device either.
        E820(layout.KVM_IDENTITY_MAP, layout.KVM_TSS + layout.KVM_TSS_SIZE - layout.KVM_IDENTITY_MAP, RESERVED),
        *(E820(slot.start, slot.size, USABLE) for slot in high),
    )


def fixed(irqchip: bool) -> tuple[Area, ...]:
    """The fixed parts of the hole: KVM's pages, and the interrupt controllers if KVM has them."""
    pages = (
        Area("kvm-identity-map", "reserved", layout.KVM_IDENTITY_MAP, layout.PAGE),
        Area("kvm-tss", "reserved", layout.KVM_TSS, layout.KVM_TSS_SIZE),
    )
    if not irqchip:
        return pages
    return (
        Area("ioapic", "mmio", layout.IOAPIC, layout.PAGE),
        Area("lapic", "mmio", layout.LAPIC, layout.PAGE),
        *pages,
    )


def areas(
    slots: tuple[Slot, ...],
    linux: bool,
    irqchip: bool,
    devices: tuple[PlannedDevice, ...],
    mapped: tuple[Slot, ...] = (),
) -> tuple[Area, ...]:
    """The map by ascending address, without gaps up to 4 GiB and between the areas above it."""
    low, *high = slots
    if linux:
        known = [
            Area("base memory", "ram", 0, layout.EBDA),
            Area("ebda", "reserved", layout.EBDA, layout.BASE_MEMORY_END - layout.EBDA),
            Area("video", "reserved", layout.BASE_MEMORY_END, layout.BIOS - layout.BASE_MEMORY_END),
            Area("bios tables", "reserved", layout.BIOS, layout.HIGH_MEMORY - layout.BIOS),
            Area("ram", "ram", layout.HIGH_MEMORY, low.size - layout.HIGH_MEMORY),
        ]
    else:
        known = [Area("ram", "ram", 0, low.size)]
    known += [Area("ram above 4 GiB", "ram", slot.start, slot.size) for slot in high]
    known += fixed(irqchip)
    known += [
        Area(device.name, "mmio", region.start, region.size)
        for device in devices
        for region in device.regions
        if region.space == "mmio" and region.start is not None
    ]
    known += [Area(slot.path.name if slot.path else "", "image", slot.start, slot.size) for slot in mapped]
    for device in devices:
        if device.kind == "pci-host":
            known += [
                Area("pci memory", space, start, size)
                for space, start, size in windows(device, slots)
                if space == "mmio"
            ]
    known.sort(key=lambda area: area.start)
    end = 0
    whole: list[Area] = []
    for area in [*known, Area("", "", layout.HOLE_END, 0)]:
        if area.start > end:
            whole.append(Area("unassigned", "hole", end, area.start - end))
        if area.size:
            whole.append(area)
        end = max(end, area.start + area.size)
    return tuple(whole)
