"""ACPI tables for Linux: RSDP, RSDT, XSDT, FADT, FACS, MADT, DSDT (ACPI 6.5, chapter 5); MCFG (PCI Firmware 3.2,
4.1.2)."""

import struct
from typing import NamedTuple

from runner.boot import aml
from vmspec import layout
from vmspec.plan import windows
from vmspec.plan.calls import Slot
from vmspec.plan.plan import Area, Plan, PlannedDevice
from vmspec.registers import acpi as R
from vmspec.registers import fwcfg, pci, pvpanic, virtio, vmgenid
from vmspec.registers.rtc import CENTURY

PORTS = layout.ACPI_PORTS

OEM = b"VMRUN "
OEM_TABLE = b"VMRUN   "
CREATOR = b"VMRN"
ALIGNMENT = 64  # of each table; only the FACS needs it (5.2.10)
HEADER, CHECKSUM = 36, 9  # the size of a table's header, and where it has the checksum (5.2.6)
# In the RSDP: offset and size of the addresses of RSDT and XSDT; the checksum of its first bytes, and of all (5.2.5.3)
RSDP_ADDRESSES = ((16, 4), (24, 8))
RSDP_CHECKSUM, RSDP_SUMMED, RSDP_CHECKSUM_ALL = 8, 20, 32
# Offset and size of the addresses in the FADT: FACS, DSDT, the DSDT with 64 bits (5.2.9)
FADT_ADDRESSES = ((36, 4), (40, 4), (140, 8))

# FADT flags (5.2.9, table 5.10)
WBINVD = 1 << 0
PROC_C1 = 1 << 2  # HLT works on all processors
SLP_BUTTON = 1 << 5  # no fixed-feature sleep button
FIX_RTC = 1 << 6  # the wake status is not in the fixed registers
RESET_REG_SUP = 1 << 10
# FADT IAPC_BOOT_ARCH (5.2.9.3)
LEGACY_DEVICES = 1 << 0
HAS_8042 = 1 << 1
NO_VGA = 1 << 2
NO_CMOS_RTC = 1 << 5

# MADT (5.2.12)
PCAT_COMPAT = 1 << 0  # there are two 8259s as well
LAPIC, IOAPIC, OVERRIDE, LAPIC_NMI = 0, 1, 2, 4
ENABLED = 1 << 0
ACTIVE_HIGH, LEVEL = 0b01, 0b11 << 2
ALL = 0xFF
IOAPIC_ID = 0  # KVM's own value of the register at reset

# Plug and play ids of the devices that the DSDT describes, by kind
PNP_IDS = {"serial": "PNP0501", "rtc": "PNP0B00", "i8042": "PNP0303", "pvpanic": pvpanic.HID}
PNP_IDS["fw-cfg"] = fwcfg.HID
NAMES = {"serial": "COM", "rtc": "RTC", "i8042": "KBD", "pvpanic": "PEV", "fw-cfg": "FWC"}


class Tables(NamedTuple):
    """All tables but the RSDP in one piece, for a multiple of 64. Addresses in it are offsets in the piece."""

    data: bytes
    pointers: tuple[tuple[int, int], ...]  # offset and size of each address
    summed: tuple[tuple[int, int], ...]  # offset and size of each table with a checksum
    rsdt: int
    xsdt: int

    def at(self, address: int) -> bytes:
        """The tables with their addresses and checksums for this place."""
        data = bytearray(self.data)
        for offset, size in self.pointers:
            value = int.from_bytes(data[offset : offset + size], "little") + address
            data[offset : offset + size] = value.to_bytes(size, "little")
        for offset, size in self.summed:
            data[offset + CHECKSUM] = 0
            data[offset + CHECKSUM] = checksum(data[offset : offset + size])
        return bytes(data)


def build(address: int, plan: Plan) -> bytes:
    """Build all tables for ``address``; the RSDP comes first."""
    made, at = tables(plan), address + ALIGNMENT
    return rsdp(at + made.rsdt, at + made.xsdt).ljust(ALIGNMENT, b"\0") + made.at(at)


def tables(plan: Plan) -> Tables:
    """Build the tables that the RSDP leads to."""
    data = bytearray()
    pointers: list[tuple[int, int]] = []
    summed: list[tuple[int, int]] = []

    def add(table: bytes, sums: bool = True) -> int:
        at = len(data)
        data.extend(table + bytes(-len(table) % ALIGNMENT))
        summed.extend([(at, len(table))] * sums)
        return at

    facs_at = add(facs(), sums=False)
    dsdt_at = add(dsdt(plan.devices, plan.slots))
    found = [add(fadt(plan, facs_at, dsdt_at))]
    pointers += [(found[0] + offset, size) for offset, size in FADT_ADDRESSES]
    if plan.irqchip:
        found.append(add(madt(plan.vm.vcpus)))
    if (bridge := plan.device("pci-host")) is not None:
        found.append(add(mcfg(_ecam(bridge))))
    # Two tables with the same contents: small kernels read the older one, which has 32-bit addresses (5.2.7, 5.2.8).
    roots = []
    for signature, size in ((b"RSDT", 4), (b"XSDT", 8)):
        at = add(table(signature, 1, b"".join(each.to_bytes(size, "little") for each in found)))
        pointers += [(at + HEADER + size * number, size) for number in range(len(found))]
        roots.append(at)
    return Tables(bytes(data), tuple(pointers), tuple(summed), *roots)


def checksum(data: bytes | bytearray) -> int:
    """The byte that makes the sum of all bytes 0 modulo 256."""
    return -sum(data) & 0xFF


def table(signature: bytes, revision: int, body: bytes) -> bytes:
    """A table with the standard header (5.2.6)."""
    header = struct.pack("<4sIBB6s8sI4sI", signature, HEADER + len(body), revision, 0, OEM, OEM_TABLE, 1, CREATOR, 1)
    data = bytearray(header + body)
    data[CHECKSUM] = checksum(data)
    return bytes(data)


def rsdp(rsdt: int, xsdt: int) -> bytes:
    """The root pointer, revision 2 (5.2.5.3)."""
    data = bytearray(struct.pack("<8sB6sBIIQB3x", b"RSD PTR ", 0, OEM, 2, rsdt, 36, xsdt, 0))
    data[RSDP_CHECKSUM] = checksum(data[:RSDP_SUMMED])
    data[RSDP_CHECKSUM_ALL] = checksum(data)
    return bytes(data)


def facs() -> bytes:
    """The firmware control structure (5.2.10): no waking vector, the global lock free."""
    return struct.pack("<4sIIIIIQB31x", b"FACS", 64, 0, 0, 0, 0, 0, 2)


def _register(port: int, bits: int, access: int) -> bytes:
    """A generic address structure in port space; ``access`` is 1 for bytes, 2 for words (5.2.3.2)."""
    return struct.pack("<BBBBQ", 1, bits, 0, access, port)


def fadt(plan: Plan, facs_at: int, dsdt_at: int) -> bytes:
    """The fixed description table, revision 6.5: fixed hardware with PM1 event and control registers and a power
    button, no timer."""
    flags = WBINVD | PROC_C1 | SLP_BUTTON | FIX_RTC | RESET_REG_SUP
    arch = LEGACY_DEVICES | NO_VGA
    if plan.device("i8042"):
        arch |= HAS_8042
    if not plan.device("rtc"):
        arch |= NO_CMOS_RTC
    none = bytes(12)
    body = (
        struct.pack("<II", facs_at, dsdt_at)
        # reserved, profile unspecified, SCI, no SMI command port: the hardware is in ACPI mode from the start
        + struct.pack("<BBHIBBBB", 0, 0, layout.SCI, 0, 0, 0, 0, 0)
        # PM1a and PM1b event, PM1a and PM1b control, PM2 control, timer, GPE0, GPE1
        + struct.pack("<8I", PORTS + R.PM1_STATUS, 0, PORTS + R.PM1_CONTROL, 0, 0, 0, 0, 0)
        + struct.pack("<8B", 4, 2, 0, 0, 0, 0, 0, 0)  # their lengths, GPE1 base, no C-state control
        # latencies that mean "no C2, no C3"; flush size and stride, duty, alarm and century indexes
        + struct.pack("<HHHHBBBBB", 0xFFF, 0xFFF, 0, 0, 0, 0, 0, 0, CENTURY if plan.device("rtc") else 0)
        + struct.pack("<HBI", arch, 0, flags)
        + _register(PORTS + R.RESET, 8, 1)
        + struct.pack("<BHBQQ", R.RESET_VALUE, 0, 5, 0, dsdt_at)  # the FACS has its 32-bit address above
        + _register(PORTS + R.PM1_STATUS, 32, 2)
        + none
        + _register(PORTS + R.PM1_CONTROL, 16, 2)
        + none * 5  # PM1b control, PM2 control, timer, GPE0, GPE1
        + none * 2  # sleep control and status, of hardware-reduced machines only
        + bytes(8)  # hypervisor vendor
    )
    return table(b"FACP", 6, body)


def madt(vcpus: int) -> bytes:
    """The interrupt controllers. KVM routes every ISA interrupt to the I/O APIC pin of its number, the timer's IRQ 0
    too. So the only override is the SCI's: level-triggered, active high."""
    entries = [struct.pack("<BBBBI", LAPIC, 8, vcpu, vcpu, ENABLED) for vcpu in range(vcpus)]
    entries.append(struct.pack("<BBBBII", IOAPIC, 12, IOAPIC_ID, 0, layout.IOAPIC, 0))
    entries.append(struct.pack("<BBBBIH", OVERRIDE, 10, 0, layout.SCI, layout.SCI, ACTIVE_HIGH | LEVEL))
    entries.append(struct.pack("<BBBHB", LAPIC_NMI, 6, ALL, 0, 1))
    return table(b"APIC", 5, struct.pack("<II", layout.LAPIC, PCAT_COMPAT) + b"".join(entries))


def mcfg(ecam: Area) -> bytes:
    """Where configuration space lies in memory: segment 0, a MiB for each bus."""
    return table(b"MCFG", 1, struct.pack("<8xQHBB4x", ecam.start, 0, 0, ecam.size // layout.MIB - 1))


def _ecam(bridge: PlannedDevice) -> Area:
    """Configuration space in memory."""
    return next(
        Area(bridge.name, region.space, region.start, region.size)
        for region in bridge.regions
        if region.name == "ecam" and region.start is not None
    )


def dsdt(devices: tuple[PlannedDevice, ...], slots: tuple[Slot, ...]) -> bytes:
    """The power-off state, and the devices that Linux finds by their plug and play ids."""
    s5 = aml.integer(R.S5)
    terms = [aml.named("_S5", aml.package(s5, s5, aml.integer(0), aml.integer(0)))]
    counts: dict[str, int] = {}
    found = []
    for device in devices:
        if device.kind == "pci-host":
            found += [_host_bridge(devices, windows.windows(device, slots)), _motherboard(_ecam(device))]
            continue
        if device.kind == "vmgenid":
            found += _generation(device)
            continue
        if device.transport == "mmio":
            counted, describe = virtio.HID, _virtio
        elif device.kind in PNP_IDS:
            counted, describe = device.kind, _device
        else:
            continue
        counts[counted] = counts.get(counted, 0) + 1
        found.append(describe(device, counts[counted]))
    terms.append(aml.scope("_SB", *found))
    # Revision 2: integers have 64 bits.
    return table(b"DSDT", 2, b"".join(terms))


def _device(device: PlannedDevice, number: int) -> bytes:
    claims = [aml.io(region.start, region.size) for region in device.regions if region.start is not None]
    if device.irq is not None:
        claims.append(aml.irq(device.irq))
    return aml.device(
        NAMES[device.kind] + str(number),
        aml.named("_HID", aml.identifier(PNP_IDS[device.kind])),
        aml.named("_UID", aml.integer(number)),
        aml.named("_CRS", aml.resources(*claims)),
    )


def _generation(device: PlannedDevice) -> tuple[bytes, bytes]:
    """A generation ID, and the device whose interrupt tells of another one."""
    assert device.irq is not None
    (region,) = device.regions
    assert region.start is not None
    return (
        aml.device(
            "VGEN",
            aml.named("_HID", aml.string(vmgenid.HID)),
            aml.named("_CID", aml.string(vmgenid.CID)),
            aml.named("_DDN", aml.string(vmgenid.CID)),
            aml.named(vmgenid.ADDRESS, aml.package(aml.integer(region.start), aml.integer(0))),
        ),
        aml.device(
            "GED0",
            aml.named("_HID", aml.string(vmgenid.EVENT_HID)),
            aml.named("_UID", aml.integer(0)),
            aml.named("_CRS", aml.resources(aml.interrupt(device.irq))),
            aml.method_that_notifies(vmgenid.EVENT_METHOD, 1, "VGEN", vmgenid.CHANGED),
        ),
    )


def _virtio(device: PlannedDevice, number: int) -> bytes:
    """A virtio device with registers in memory; its writes and reads of RAM are cache-coherent (_CCA, 6.2.17)."""
    assert device.irq is not None
    (region,) = device.regions
    assert region.start is not None
    return aml.device(
        f"VR{number:02X}",
        aml.named("_HID", aml.string(virtio.HID)),
        aml.named("_UID", aml.integer(number)),
        aml.named("_CCA", aml.integer(1)),
        aml.named("_CRS", aml.resources(aml.memory(region.start, region.size), aml.interrupt(device.irq))),
    )


def _host_bridge(devices: tuple[PlannedDevice, ...], passed: tuple[windows.Window, ...]) -> bytes:
    """The PCI host bridge with one bus, its windows (``passed``), and the interrupts of the INTA pins (_PRT, 6.2.13).
    No firmware here keeps a feature for itself, so _OSC grants all that is asked for (6.2.11)."""
    pins = [
        aml.package(aml.integer(region.start << 1 | 0xFFFF), aml.integer(0), aml.integer(0), aml.integer(device.irq))
        for device in devices
        for region in device.regions
        if region.space == "pci" and region.start is not None and device.irq is not None
    ]
    return aml.device(
        "PCI0",
        aml.named("_HID", aml.eisa_id("PNP0A08")),
        aml.named("_CID", aml.eisa_id("PNP0A03")),
        aml.named("_UID", aml.integer(0)),
        aml.named("_SEG", aml.integer(0)),
        aml.named("_BBN", aml.integer(0)),
        aml.named("_CCA", aml.integer(1)),
        aml.named(
            "_CRS",
            aml.resources(
                aml.window(aml.BUS, 0, 1),
                aml.io(pci.ADDRESS_PORT, 2 * pci.PORTS),
                *(
                    aml.window(aml.IO, start, size) if space == "port" else aml.window(aml.MEMORY, start, size, 4)
                    for space, start, size in reversed(passed)
                ),
            ),
        ),
        aml.named("_PRT", aml.package(*pins)),
        aml.method_that_returns_its_argument("_OSC", 4, 3),
    )


def _motherboard(ecam: Area) -> bytes:
    """Configuration space in memory, reserved as PCI Firmware 3.2, 4.1.2 wants it."""
    return aml.device(
        "MB01",
        aml.named("_HID", aml.eisa_id("PNP0C02")),
        aml.named("_UID", aml.integer(0)),
        aml.named("_CRS", aml.resources(aml.memory(ecam.start, ecam.size))),
    )
