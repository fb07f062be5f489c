"""The MP table: processors and interrupts for kernels without ACPI.

Intel MultiProcessor specification 1.4, chapter 4.
"""

import struct

from runner.boot.acpi import ACTIVE_HIGH, ALL, LEVEL, OEM_TABLE, checksum
from vmspec import layout
from vmspec.plan.plan import Plan

REVISION = 4
PROCESSOR, BUS, IOAPIC, INTERRUPT, LOCAL_INTERRUPT = range(5)  # entry types
INT, NMI, EXTINT = 0, 1, 3  # interrupt types
USABLE, BOOT_PROCESSOR = 1 << 0, 1 << 1

ISA = 0  # the bus's id
CASCADE = 2  # the second 8259's interrupt into the first; no device uses it
LAPIC_VERSION = 0x14  # of KVM's local and I/O APIC
IOAPIC_VERSION = 0x11
# The table needs a CPUID signature and features, which no system checks: family 6 with FPU and APIC.
SIGNATURE, FEATURES = 0x600, 1 << 9 | 1 << 0


def build(address: int, plan: Plan) -> bytes:
    """Build the floating pointer and the table behind it for ``address``."""
    return floating_pointer(address + 16) + table(plan.vm.vcpus, acpi=plan.device("acpi") is not None)


def floating_pointer(address: int) -> bytes:
    """The structure that systems search for (4.1). The machine starts in virtual wire mode, without an IMCR."""
    data = bytearray(struct.pack("<4sIBBBB4x", b"_MP_", address, 1, REVISION, 0, 0))
    data[10] = checksum(data)
    return bytes(data)


def table(vcpus: int, acpi: bool) -> bytes:
    """The configuration table (4.2): ISA interrupts go to the I/O APIC pins of their numbers, as KVM routes them."""
    ioapic = vcpus  # the first APIC id without a processor
    entries = [
        struct.pack(
            "<BBBBII8x",
            PROCESSOR,
            vcpu,
            LAPIC_VERSION,
            USABLE | (0 if vcpu else BOOT_PROCESSOR),
            SIGNATURE,
            FEATURES,
        )
        for vcpu in range(vcpus)
    ]
    entries.append(struct.pack("<BB6s", BUS, ISA, b"ISA   "))
    entries.append(struct.pack("<BBBBI", IOAPIC, ioapic, IOAPIC_VERSION, USABLE, layout.IOAPIC))
    for irq in range(16):
        if irq != CASCADE:
            # 0 means "as the bus": edge-triggered, active high.
            flags = ACTIVE_HIGH | LEVEL if acpi and irq == layout.SCI else 0
            entries.append(struct.pack("<BBHBBBB", INTERRUPT, INT, flags, ISA, irq, ioapic, irq))
    entries.append(struct.pack("<BBHBBBB", LOCAL_INTERRUPT, EXTINT, 0, ISA, 0, 0, 0))
    entries.append(struct.pack("<BBHBBBB", LOCAL_INTERRUPT, NMI, 0, ISA, 0, ALL, 1))
    body = b"".join(entries)
    data = bytearray(
        struct.pack(
            "<4sHBB8s12sIHHIHBx",
            b"PCMP",
            44 + len(body),
            REVISION,
            0,
            OEM_TABLE,
            b"VIRTUAL PC  ",
            0,
            0,
            len(entries),
            layout.LAPIC,
            0,
            0,
        )
        + body
    )
    data[7] = checksum(data)
    return bytes(data)
