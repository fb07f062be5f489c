"""The ports of a PC: a register for each, from the data sheets of its chips.

8259A interrupt controller, 8254 timer, 8042 keyboard controller, MC146818 clock: their data sheets. 8237A DMA
controller, system control ports, reset control: Intel ICH9 data sheet (316972), chapter 13. PCI configuration: PCI
Local Bus Specification 3.0, 3.2.2.3.2. IDE: ATA/ATAPI-6, 7. Floppy: 82077AA data sheet. Parallel port: IEEE 1284.
VGA: IBM VGA technical reference; the same names are in the Intel open-source PRM, volume "VGA registers". The debug
ports are those of Bochs (0xe9) and QEMU (isa-debug-exit); ACPI's fixed registers stand where vmrun puts them.
"""

from collections.abc import Mapping

from tracer.decode.register import WRITE, Bit, Field, Register, character
from vmspec import layout

_IRQS = tuple(Bit(1 << line, f"IRQ{line}") for line in range(8))
_SLAVE_IRQS = tuple(Bit(1 << line, f"IRQ{8 + line}") for line in range(8))


# Bits 7-5 of OCW2 are R, SL, EOI; 3, 6 and 7 name a line.
_OCW2 = (
    "rotate in AEOI off",
    "EOI",
    "no operation",
    "EOI of",
    "rotate in AEOI on",
    "rotate, EOI",
    "lowest priority",
    "rotate, EOI of",
)


def pic_command(value: int, direction: str) -> str:
    """Port 0x20 or 0xa0 (8259A): a write is ICW1 (bit 4), OCW3 (bit 3) or OCW2; a read is IRR or ISR."""
    if direction != WRITE:
        return ""
    if value & 0x10:
        parts = [
            "ICW1",
            "ICW4 follows" if value & 1 else "",
            "single" if value & 2 else "",
            "level" if value & 8 else "",
        ]
        return " ".join(part for part in parts if part)
    if value & 0x08:
        read = {2: "read IRR", 3: "read ISR"}.get(value & 3, "")
        mask = {2: "special mask off", 3: "special mask on"}.get(value >> 5 & 3, "")
        return " ".join(part for part in ("OCW3", read, "poll" if value & 4 else "", mask) if part)
    command = _OCW2[value >> 5]
    return f"OCW2 {command} {value & 7}" if value >> 5 in (3, 6, 7) else f"OCW2 {command}"


def _pit_control(value: int, direction: str) -> str:
    """Port 0x43 (8254): counter, access, mode, BCD; or the read-back command."""
    if value >> 6 == 3:
        counters = " ".join(str(counter) for counter in range(3) if value & 2 << counter)
        what = [name for mask, name in ((0x20, "count"), (0x10, "status")) if not value & mask]
        return f"read back {' and '.join(what) or 'nothing'} of {counters or 'none'}"
    access = ("latch", "low byte", "high byte", "low, high byte")[value >> 4 & 3]
    if value >> 4 & 3 == 0:
        return f"counter {value >> 6} latch"
    mode = value >> 1 & 7
    mode -= 4 if mode > 5 else 0  # bit 2 of modes 2 and 3 does not count
    return f"counter {value >> 6}, {access}, mode {mode}" + (", BCD" if value & 1 else "")


# Commands of the keyboard controller (8042; IBM PS/2 technical reference, "Keyboard and auxiliary device controller").
_I8042 = {
    0x20: "read command byte",
    0x60: "write command byte",
    0xA7: "disable aux",
    0xA8: "enable aux",
    0xA9: "test aux",
    0xAA: "self-test",
    0xAB: "test keyboard",
    0xAD: "disable keyboard",
    0xAE: "enable keyboard",
    0xC0: "read input port",
    0xD0: "read output port",
    0xD1: "write output port",
    0xD2: "write keyboard output",
    0xD3: "write aux output",
    0xD4: "write to aux",
    0xFE: "pulse reset line",
}
# Its command byte (the same reference).
I8042_BYTE = (
    Bit(0x01, "IRQ1"),
    Bit(0x02, "IRQ12"),
    Bit(0x04, "SYS"),
    Bit(0x08, "no lock"),
    Bit(0x10, "keyboard off"),
    Bit(0x20, "aux off"),
    Bit(0x40, "translate"),
)
# Commands to the keyboard and its answers (IBM PS/2 technical reference, "Keyboard"); other bytes are scan codes,
# operands.
KEYBOARD_COMMANDS = {
    0xED: "set LEDs",
    0xEE: "echo",
    0xF0: "scan code set",
    0xF2: "identify",
    0xF3: "typematic rate",
    0xF4: "enable",
    0xF5: "disable",
    0xF6: "defaults",
    0xFE: "resend",
    0xFF: "reset",
}
KEYBOARD_ANSWERS = {0xAA: "test passed", 0xEE: "echo", 0xFA: "ACK", 0xFC: "test failed", 0xFE: "resend"}
_I8042_STATUS = (
    Bit(0x01, "OBF"),
    Bit(0x02, "IBF"),
    Bit(0x04, "SYS"),
    Bit(0x08, "A2"),
    Bit(0x10, "INH"),
    Bit(0x20, "AUX"),
    Bit(0x40, "timeout"),
    Bit(0x80, "parity"),
)


def i8042_command(value: int, direction: str) -> str:
    """Port 0x64: commands when written, the status when read."""
    if direction == WRITE:
        return "pulse output lines" if 0xF0 <= value <= 0xFF and value != 0xFE else _I8042.get(value, "")
    return Register("", bits=_I8042_STATUS).means(value, direction)


# CMOS registers (MC146818 data sheet, "Address map"; above 0x0d the IBM AT's).
CMOS = {
    0x00: "seconds",
    0x01: "seconds alarm",
    0x02: "minutes",
    0x03: "minutes alarm",
    0x04: "hours",
    0x05: "hours alarm",
    0x06: "day of week",
    0x07: "day of month",
    0x08: "month",
    0x09: "year",
    0x0A: "register A",
    0x0B: "register B",
    0x0C: "register C",
    0x0D: "register D",
    0x0E: "diagnostic status",
    0x0F: "shutdown status",
    0x10: "floppy types",
    0x12: "disk types",
    0x14: "equipment",
    0x15: "base memory, low",
    0x16: "base memory, high",
    0x17: "extended memory, low",
    0x18: "extended memory, high",
    0x2E: "checksum, high",
    0x2F: "checksum, low",
    0x30: "extended memory, low",
    0x31: "extended memory, high",
    0x32: "century",
    0x34: "memory above 16 MiB, low",
    0x35: "memory above 16 MiB, high",
    0x5B: "memory above 4 GiB, low",
    0x5C: "memory above 4 GiB, middle",
    0x5D: "memory above 4 GiB, high",
}
CMOS_BITS = {
    0x0A: (Bit(0x80, "UIP"), Field(0x70, "DV"), Field(0x0F, "RS")),
    0x0B: (
        Bit(0x80, "SET"),
        Bit(0x40, "PIE"),
        Bit(0x20, "AIE"),
        Bit(0x10, "UIE"),
        Bit(0x08, "SQWE"),
        Field(0x04, "DM", {0: "BCD", 1: "binary"}),
        Field(0x02, "24/12", {0: "12 h", 1: "24 h"}),
        Bit(0x01, "DSE"),
    ),
    0x0C: (Bit(0x80, "IRQF"), Bit(0x40, "PF"), Bit(0x20, "AF"), Bit(0x10, "UF")),
    0x0D: (Bit(0x80, "VRT"),),
}
NMI_OFF = 0x80  # of port 0x70


def _cmos_index(value: int, direction: str) -> str:
    name = CMOS.get(value & 0x7F, f"CMOS {value & 0x7F:#04x}")
    return name + (", NMI off" if value & NMI_OFF else "")


def pci_address(value: int, direction: str = "") -> str:
    """CONFIG_ADDRESS (PCI 3.0, 3.2.2.3.2): bus:device.function and the register's offset."""
    where = f"{value >> 16 & 0xFF:02x}:{value >> 11 & 0x1F:02x}.{value >> 8 & 7}+{value & 0xFC:02x}"
    return where + ("" if value & 1 << 31 else ", disabled")


# Of a PCI function's header (PCI 3.0, 6.1), by offset.
PCI_HEADER = {
    0x00: "vendor ID",
    0x02: "device ID",
    0x04: "command",
    0x06: "status",
    0x08: "revision ID",
    0x09: "class code",
    0x0A: "class code",
    0x0B: "class code",
    0x0C: "cache line size",
    0x0D: "latency timer",
    0x0E: "header type",
    0x0F: "BIST",
    **{0x10 + 4 * index: f"BAR{index}" for index in range(6)},
    0x2C: "subsystem vendor ID",
    0x2E: "subsystem ID",
    0x30: "expansion ROM",
    0x34: "capabilities",
    0x3C: "interrupt line",
    0x3D: "interrupt pin",
}

_PM1 = (  # ACPI 6.5, 4.8.3.1
    Bit(0x0001, "TMR"),
    Bit(0x0010, "BM"),
    Bit(0x0020, "GBL"),
    Bit(0x0100, "PWRBTN"),
    Bit(0x0200, "SLPBTN"),
    Bit(0x0400, "RTC"),
    Bit(0x4000, "PCIEXP_WAKE"),
    Bit(0x8000, "WAK"),
)
_PM1_CONTROL = (  # ACPI 6.5, 4.8.3.2.1
    Bit(0x0001, "SCI_EN"),
    Bit(0x0002, "BM_RLD"),
    Bit(0x0004, "GBL_RLS"),
    Field(0x1C00, "SLP_TYP"),
    Bit(0x2000, "SLP_EN"),
)
_ATA_STATUS = (  # ATA/ATAPI-6, 7.15
    Bit(0x01, "ERR"),
    Bit(0x08, "DRQ"),
    Bit(0x20, "DF"),
    Bit(0x40, "DRDY"),
    Bit(0x80, "BSY"),
)


def _ide(base: int, control: int, name: str) -> Mapping[int, Register]:
    names = ("data", "error", "sector count", "LBA low", "LBA mid", "LBA high", "device", "status")
    registers = {base + offset: Register(f"{name} {text}") for offset, text in enumerate(names)}
    registers[base] = Register(f"{name} data", size=2)
    registers[base + 1] = Register(f"{name} error", f"{name} features")
    registers[base + 7] = Register(f"{name} status", f"{name} command", read_bits=_ATA_STATUS)
    registers[control] = Register(f"{name} alternate status", f"{name} device control", read_bits=_ATA_STATUS)
    return registers


def _lpt(base: int, name: str) -> Mapping[int, Register]:
    return {base + offset: Register(f"{name} {text}") for offset, text in enumerate(("data", "status", "control"))}


def _dma() -> Mapping[int, Register]:
    channels = {channel * 2: Register(f"DMA1 ch{channel} address") for channel in range(4)}
    channels |= {channel * 2 + 1: Register(f"DMA1 ch{channel} count") for channel in range(4)}
    channels |= {0xC0 + channel * 4: Register(f"DMA2 ch{channel + 4} address") for channel in range(4)}
    channels |= {0xC2 + channel * 4: Register(f"DMA2 ch{channel + 4} count") for channel in range(4)}
    names = ("status", "request", "mask", "mode", "clear byte pointer", "master clear", "clear mask", "all masks")
    for offset, name in enumerate(names):
        channels[0x08 + offset] = Register(f"DMA1 {name}", "DMA1 command" if offset == 0 else "")
        channels[0xD0 + 2 * offset] = Register(f"DMA2 {name}", "DMA2 command" if offset == 0 else "")
    pages = {0x87: 0, 0x83: 1, 0x81: 2, 0x82: 3, 0x8B: 5, 0x89: 6, 0x8A: 7}
    return channels | {port: Register(f"DMA ch{channel} page") for port, channel in pages.items()}


def _floppy() -> Mapping[int, Register]:
    names = {0: "SRA", 1: "SRB", 2: "DOR", 3: "TDR", 4: "MSR", 5: "FIFO"}
    registers = {0x3F0 + offset: Register(f"floppy {name}") for offset, name in names.items()}
    registers[0x3F4] = Register("floppy MSR", "floppy DSR")
    registers[0x3F7] = Register("floppy DIR", "floppy CCR")
    return registers


def _vga() -> Mapping[int, Register]:
    registers = {port: Register("VGA register") for port in range(0x3B0, 0x3E0)}
    for port, crt in ((0x3B4, "mono "), (0x3D4, "")):
        registers[port] = Register(f"VGA {crt}CRTC index")
        registers[port + 1] = Register(f"VGA {crt}CRTC data")
        registers[port + 6] = Register(f"VGA {crt}input status 1", f"VGA {crt}feature control")
    names = {
        0x3C0: ("attribute index/data", ""),
        0x3C1: ("attribute data", ""),
        0x3C2: ("input status 0", "miscellaneous output"),
        0x3C4: ("sequencer index", ""),
        0x3C5: ("sequencer data", ""),
        0x3C6: ("DAC mask", ""),
        0x3C7: ("DAC state", "DAC read index"),
        0x3C8: ("DAC write index", ""),
        0x3C9: ("DAC data", ""),
        0x3CA: ("feature control", ""),
        0x3CC: ("miscellaneous output", ""),
        0x3CE: ("graphics index", ""),
        0x3CF: ("graphics data", ""),
    }
    for port, (read, write) in names.items():
        registers[port] = Register(f"VGA {read}", f"VGA {write}" if write else "")
    return registers


PORTS: Mapping[int, Register] = {
    **_dma(),
    0x20: Register("PIC1 IRR/ISR", "PIC1 command", meaning=pic_command),
    0x21: Register("PIC1 IMR", bits=_IRQS),
    0x22: Register("IMCR select"),  # MultiProcessor specification 1.4, 3.6.2.1
    0x23: Register("IMCR data", write_bits=(Field(1, "mode", {0: "PIC mode", 1: "APIC mode"}),)),
    **{0x40 + counter: Register(f"PIT counter {counter}") for counter in range(3)},
    0x43: Register("PIT control", meaning=_pit_control),
    0x60: Register("i8042 data"),
    0x61: Register(  # ICH9, 13.7.1
        "NMI status and control",
        bits=(
            Bit(0x01, "GATE2"),
            Bit(0x02, "SPKR"),
            Bit(0x04, "SERR off"),
            Bit(0x08, "IOCHK off"),
            Bit(0x10, "REFRESH"),
            Bit(0x20, "OUT2"),
            Bit(0x40, "IOCHK"),
            Bit(0x80, "SERR"),
        ),
    ),
    0x64: Register("i8042 status", "i8042 command", meaning=i8042_command),
    0x70: Register("CMOS index", meaning=_cmos_index),
    0x71: Register("CMOS data"),
    0x80: Register("POST code"),
    0x92: Register("system control A", bits=(Bit(0x01, "fast reset"), Bit(0x02, "A20"))),
    0xA0: Register("PIC2 IRR/ISR", "PIC2 command", meaning=pic_command),
    0xA1: Register("PIC2 IMR", bits=_SLAVE_IRQS),
    0xB2: Register("APM control"),
    0xB3: Register("APM status"),
    0xE9: Register("debug port", meaning=character),
    0xED: Register("I/O delay"),  # where Linux writes with io_delay=0xed
    0xF0: Register("FPU clear busy"),
    **{0xF4 + offset: Register("debug exit", size=4) for offset in range(4)},
    **_ide(0x170, 0x376, "IDE2"),
    **_ide(0x1F0, 0x3F6, "IDE1"),
    0x201: Register("game port"),
    **_lpt(0x278, "LPT2"),
    0x279: Register("LPT2 status", "ISA PnP address"),  # Plug and Play ISA 1.0a, 3.1
    0xA79: Register("ISA PnP write data"),
    **_vga(),
    **_lpt(0x3BC, "LPT3"),
    **_lpt(0x378, "LPT1"),
    **_floppy(),
    0x4D0: Register("ELCR1", bits=_IRQS),
    0x4D1: Register("ELCR2", bits=_SLAVE_IRQS),
    0x510: Register("fw_cfg select", size=2),  # QEMU, docs/specs/fw_cfg
    0x511: Register("fw_cfg data"),
    layout.PM1_EVENT: Register("ACPI PM1 status", size=2, bits=_PM1),
    layout.PM1_EVENT + 2: Register("ACPI PM1 enable", size=2, bits=_PM1),
    layout.PM1_CONTROL: Register("ACPI PM1 control", size=2, bits=_PM1_CONTROL),
    layout.ACPI_RESET: Register("ACPI reset", write_bits=(Field(0xFF, "value", {layout.ACPI_RESET_VALUE: "reset"}),)),
    0xCF8: Register("PCI config address", size=4, meaning=pci_address),
    0xCF9: Register("reset control", bits=(Bit(0x02, "SYS_RST"), Bit(0x04, "RST_CPU"), Bit(0x08, "FULL_RST"))),
    0xCFA: Register("PCI mechanism 2 forward"),  # PCI 2.1, 3.7.4.2, where Linux probes for it
    0xCFB: Register("PCI mechanism test"),
    **{0xCFC + offset: Register("PCI config data", size=4) for offset in range(4)},
    0x5658: Register("VMware backdoor", size=4),
}
