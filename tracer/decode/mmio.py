"""Memory-mapped registers with a known place: local APIC, I/O APIC, HPET, PCI's configuration space; and virtio's by
offset.

Local APIC: Intel SDM volume 3, table 11-1. I/O APIC: 82093AA data sheet, 3.1. HPET: IA-PC HPET specification 1.0a, 2.3.
virtio-mmio: virtio 1.2, 4.2.2.
"""

from collections.abc import Mapping

from tracer.decode import pci, virtioconfig
from tracer.decode.register import WRITE, Bit, Field, Register, spelled
from tracer.format.devicenames import kind_of
from vmspec import layout
from vmspec.registers import flash, lapic, virtio

HPET = 0xFED00000
HPET_SIZE = 0x400
PAGE = 0x1000

_DELIVERY = Field(
    lapic.MODE, "mode", {0: "fixed", 1: "lowest", 2: "SMI", 4: "NMI", 5: "INIT", 6: "startup", 7: "ExtINT"}
)
_LVT = (Field(lapic.VECTOR, "vector"), _DELIVERY, Bit(0x1000, "pending"), Bit(lapic.MASKED, "masked"))
_LVT_TIMER = (
    Field(lapic.VECTOR, "vector"),
    Bit(0x1000, "pending"),
    Bit(lapic.MASKED, "masked"),
    Field(0x60000, "timer", {0: "one-shot", 1: "periodic", 2: "TSC-deadline"}),
)
_ICR = (  # SDM volume 3, 11.6.1
    Field(0xFF, "vector"),
    _DELIVERY,
    Bit(0x800, "logical"),
    Bit(0x1000, "pending"),
    Bit(0x4000, "assert"),
    Bit(0x8000, "level"),
    Field(0xC0000, "to", {0: "", 1: "self", 2: "all", 3: "all but self"}),
)
LAPIC: Mapping[int, Register] = {
    0x020: Register("ID", size=4, bits=(Field(0xFF000000, "id"),)),
    0x030: Register("version", size=4, bits=(Field(0xFF, "version"), Field(0xFF0000, "max LVT"))),
    0x080: Register("TPR", size=4),
    0x090: Register("APR", size=4),
    0x0A0: Register("PPR", size=4),
    0x0B0: Register("EOI", size=4),
    0x0C0: Register("RRD", size=4),
    0x0D0: Register("LDR", size=4),
    0x0E0: Register("DFR", size=4),
    0x0F0: Register(
        "SVR", size=4, bits=(Field(0xFF, "vector"), Bit(0x100, "enabled"), Bit(0x1000, "no EOI broadcast"))
    ),
    **{0x100 + 0x10 * index: Register(f"ISR{index}", size=4) for index in range(8)},
    **{0x180 + 0x10 * index: Register(f"TMR{index}", size=4) for index in range(8)},
    **{0x200 + 0x10 * index: Register(f"IRR{index}", size=4) for index in range(8)},
    0x280: Register("ESR", size=4),
    0x2F0: Register("LVT CMCI", size=4, bits=_LVT),
    0x300: Register("ICR low", size=4, bits=_ICR),
    0x310: Register("ICR high", size=4, bits=(Field(0xFF000000, "to"),)),
    0x320: Register("LVT timer", size=4, bits=_LVT_TIMER),
    0x330: Register("LVT thermal", size=4, bits=_LVT),
    0x340: Register("LVT performance", size=4, bits=_LVT),
    lapic.LVT_LINT0: Register("LVT LINT0", size=4, bits=_LVT),
    lapic.LVT_LINT1: Register("LVT LINT1", size=4, bits=_LVT),
    0x370: Register("LVT error", size=4, bits=_LVT),
    0x380: Register("timer initial count", size=4),
    0x390: Register("timer current count", size=4),
    0x3E0: Register("timer divide", size=4),
}


def ioapic_index(value: int) -> str:
    """The I/O APIC register at an index (82093AA, 3.2)."""
    match value:
        case 0:
            return "ID"
        case 1:
            return "version"
        case 2:
            return "arbitration"
        case _ if 0x10 <= value <= 0xFF:
            return f"redirection {(value - 0x10) // 2} {'high' if value & 1 else 'low'}"
    return f"register {value:#x}"


REDIRECTION = (  # 82093AA, 3.2.4, the low half
    Field(0xFF, "vector"),
    _DELIVERY,
    Bit(0x800, "logical"),
    Bit(0x1000, "pending"),
    Bit(0x2000, "active low"),
    Bit(0x4000, "remote IRR"),
    Bit(0x8000, "level"),
    Bit(0x10000, "masked"),
)
IOAPIC_DATA = 0x10  # offset of the register that the index selects
IOAPIC: Mapping[int, Register] = {
    0x00: Register("index", size=4, meaning=lambda value, direction: ioapic_index(value & 0xFF)),
    IOAPIC_DATA: Register("data", size=4),
    0x40: Register("EOI", size=4),
}


def hpet(offset: int) -> Register:
    """A register of the HPET."""
    match offset & ~7:
        case 0x000:
            return Register("capabilities", size=8)
        case 0x010:
            return Register("configuration", size=8, bits=(Bit(1, "enabled"), Bit(2, "legacy replacement")))
        case 0x020:
            return Register("interrupt status", size=8)
        case 0x0F0:
            return Register("main counter", size=8)
    timer, register = divmod(offset - 0x100, 0x20)
    name = {0x00: "configuration", 0x08: "comparator", 0x10: "FSB route"}.get(register & ~7)
    return Register(f"timer {timer} {name}", size=8) if name and timer >= 0 else Register(f"+{offset:#x}")


_STATUS = (  # virtio 1.2, 2.1
    Bit(virtio.ACKNOWLEDGE, "ACKNOWLEDGE"),
    Bit(virtio.DRIVER, "DRIVER"),
    Bit(virtio.DRIVER_OK, "DRIVER_OK"),
    Bit(virtio.FEATURES_OK, "FEATURES_OK"),
    Bit(virtio.NEEDS_RESET, "NEEDS_RESET"),
    Bit(virtio.FAILED, "FAILED"),
)
# virtio 1.2, 5.
_DEVICES = {
    0: "none",
    virtio.NET: "network",
    virtio.BLOCK: "block",
    virtio.CONSOLE: "console",
    virtio.ENTROPY: "entropy",
    virtio.BALLOON: "balloon",
    8: "SCSI host",
    9: "9P",
    16: "GPU",
    18: "input",
    virtio.SOCKET: "socket",
    20: "crypto",
    24: "memory",
    25: "sound",
    virtio.FS: "file system",
    virtio.PMEM: "PMEM",
}
_ISR = (Bit(virtio.USED_BUFFER, "used buffer"), Bit(virtio.CONFIGURATION, "configuration change"))
VIRTIO: Mapping[int, Register] = {
    virtio.MAGIC: Register("MagicValue", size=4, bits=(Field(0xFFFFFFFF, "magic", {virtio.MAGIC_VALUE: "'virt'"}),)),
    virtio.VERSION: Register("Version", size=4),
    virtio.DEVICE_ID: Register("DeviceID", size=4, bits=(Field(0xFFFFFFFF, "device", _DEVICES),)),
    virtio.VENDOR_ID: Register("VendorID", size=4),
    virtio.DEVICE_FEATURES: Register("DeviceFeatures", size=4),
    virtio.DEVICE_FEATURES_SEL: Register("DeviceFeaturesSel", size=4),
    virtio.DRIVER_FEATURES: Register("DriverFeatures", size=4),
    virtio.DRIVER_FEATURES_SEL: Register("DriverFeaturesSel", size=4),
    0x028: Register("GuestPageSize", size=4),  # legacy, 4.2.4
    virtio.QUEUE_SEL: Register("QueueSel", size=4),
    virtio.QUEUE_NUM_MAX: Register("QueueNumMax", size=4),
    virtio.QUEUE_NUM: Register("QueueNum", size=4),
    0x03C: Register("QueueAlign", size=4),  # legacy, 4.2.4
    0x040: Register("QueuePFN", size=4),  # legacy, 4.2.4
    virtio.QUEUE_READY: Register("QueueReady", size=4),
    virtio.QUEUE_NOTIFY: Register("QueueNotify", size=4, meaning=lambda value, direction: f"queue {value & 0xFFFF}"),
    virtio.INTERRUPT_STATUS: Register("InterruptStatus", size=4, bits=_ISR),
    virtio.INTERRUPT_ACK: Register("InterruptACK", size=4, bits=_ISR),
    virtio.STATUS: Register("Status", size=4, bits=_STATUS),
    virtio.QUEUE_DESC: Register("QueueDescLow", size=4),
    virtio.QUEUE_DESC + 4: Register("QueueDescHigh", size=4),
    virtio.QUEUE_DRIVER: Register("QueueDriverLow", size=4),
    virtio.QUEUE_DRIVER + 4: Register("QueueDriverHigh", size=4),
    virtio.QUEUE_DEVICE: Register("QueueDeviceLow", size=4),
    virtio.QUEUE_DEVICE + 4: Register("QueueDeviceHigh", size=4),
    virtio.SHM_SEL: Register("SHMSel", size=4),
    virtio.SHM_LEN: Register("SHMLenLow", size=4),
    virtio.SHM_LEN + 4: Register("SHMLenHigh", size=4),
    virtio.SHM_BASE: Register("SHMBaseLow", size=4),
    virtio.SHM_BASE + 4: Register("SHMBaseHigh", size=4),
    0x0C0: Register("QueueReset", size=4),
    virtio.CONFIG_GENERATION: Register("ConfigGeneration", size=4),
}

VIRTIO_PCI = pci.Virtio(_STATUS, _ISR)


def _flash(value: int, direction: str) -> str:
    """A command, which a byte to program may look like; or what reads instead of the array: the status."""
    if direction == WRITE:
        return flash.NAMES.get(value, "")
    return spelled(value, _FLASH_STATUS)


_FLASH_STATUS = (
    Bit(flash.READY, "ready"), Bit(flash.ERASE_ERROR, "erase error"), Bit(flash.PROGRAM_ERROR, "program error"),
)  # fmt: skip
FLASH = Register("status", write="command or data", meaning=_flash)


def is_virtio(device: str) -> bool:
    """Whether a device is one of virtio, by the beginning of its name."""
    return device.rpartition("/")[2].startswith(("virtio", "vhost"))


def notified_queue(addr: int, data: int) -> int | None:
    """The queue that a driver notifies by writing ``data`` at an address of a virtio device; None: the write is not a
    notification."""
    if pci.is_virtio(addr):
        return VIRTIO_PCI.queue(addr)
    return data & 0xFFFF if addr % virtio.SIZE == virtio.QUEUE_NOTIFY else None


def register(addr: int, device: str) -> tuple[str, Register] | None:
    """The device's name and its register, None if the address is unknown.

    virtio devices are recognised by the beginning of their name; their windows are assumed to start at a multiple of
    their size.
    """
    if is_virtio(device):
        if pci.is_virtio(addr):
            at = VIRTIO_PCI.field(addr)
            register = VIRTIO_PCI.register(addr)
        else:
            offset = addr % virtio.SIZE
            at = offset - virtio.CONFIG if offset >= virtio.CONFIG else None
            register = VIRTIO.get(offset, Register(f"+{offset:#x}"))
        if at is not None:
            field = virtioconfig.field(kind_of(device), at)
            register = field._replace(name=f"config {field.name}")
        return "virtio", register
    if layout.LAPIC <= addr < layout.LAPIC + PAGE:
        return "LAPIC", LAPIC.get(addr - layout.LAPIC, Register(f"+{addr - layout.LAPIC:#x}"))
    if layout.IOAPIC <= addr < layout.IOAPIC + PAGE:
        return "IOAPIC", IOAPIC.get(addr - layout.IOAPIC, Register(f"+{addr - layout.IOAPIC:#x}"))
    if kind_of(device) == "flash":
        return "flash", FLASH
    if kind_of(device) == "pci-host":
        q35 = addr >= layout.Q35_ECAM
        return "PCI", pci.configuration(addr - (layout.Q35_ECAM if q35 else layout.PCI_ECAM))
    if HPET <= addr < HPET + HPET_SIZE:
        return "HPET", hpet(addr - HPET)
    return None
