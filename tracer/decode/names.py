"""Every name that an exit can have: those in tables, and the patterns of those that contain numbers."""

import re
from collections.abc import Iterable, Iterator
from functools import cache

from tracer.decode import mmio, msr, ports, uart, virtioconfig
from tracer.decode.decoder import HYPERCALLS, I8042_OPERANDS, REASONS
from tracer.decode.register import Register

# Names that contain numbers: PCI functions, MSRs and others without a name, addresses, places in regions.
_SHAPES = re.compile(
    r"PCI [0-9a-f]{2}:[0-9a-f]{2}\.[0-7] .+|MSR 0x[0-9a-f]+|CMOS 0x[0-9a-f]{2}|hypercall \d+|KVM exit \d+"
    r"|(LAPIC|IOAPIC|HPET|virtio) (config )?\+0x[0-9a-f]+|IOAPIC (register 0x[0-9a-f]+|redirection \d+ (low|high))"
    r"|virtio MSI-X (vector \d+ (address(, high)?|data|control)|pending bits)"
    r"|HPET timer \d+ (configuration|comparator|FSB route)|(.+ )?(port )?0x[0-9a-f]+"
    r"|\S+ \S+\+0x[0-9a-f]+"  # a place in a device's region
)


@cache
def listed() -> frozenset[str]:
    """The names in tables."""
    return frozenset(_listed())


def possible(name: str) -> bool:
    """Whether an exit can have this name."""
    return name == "" or name in listed() or _SHAPES.fullmatch(name) is not None


def _listed() -> Iterator[str]:
    for register in ports.PORTS.values():
        yield from _both(register)
    for com in uart.COMS.values():
        for register in (*uart.REGISTERS.values(), *uart.DIVISOR.values()):
            yield from (f"{com} {name}" for name in _both(register))
    pci = mmio.VIRTIO_PCI
    chips: tuple[tuple[str, Iterable[Register]], ...] = (
        ("LAPIC", mmio.LAPIC.values()),
        ("IOAPIC", mmio.IOAPIC.values()),
        ("virtio", mmio.VIRTIO.values()),
        ("virtio", (*pci.common.values(), pci.isr, pci.notify)),
        *(("virtio config", fields.values()) for fields in virtioconfig.CONFIGURATIONS.values()),
    )
    for chip, registers in chips:
        for register in registers:
            yield from (f"{chip} {name}" for name in _both(register))
    yield from (f"HPET {mmio.hpet(offset).name}" for offset in range(0, mmio.HPET_SIZE, 8))
    yield from (f"IOAPIC {mmio.ioapic_index(index)}" for index in range(3))
    yield from (f"CMOS {name}" for name in ports.CMOS.values())
    yield from ("i8042 data", "i8042 command byte", *I8042_OPERANDS.values())
    yield from (f"PIC{chip} {word}" for chip in (1, 2) for word in ("ICW2", "ICW3", "ICW4"))
    yield from (*msr.MSRS.values(), *HYPERCALLS.values(), *REASONS.values(), "debug port", "debug exit")


def _both(register: Register) -> Iterator[str]:
    yield register.name
    if register.write:
        yield register.write
