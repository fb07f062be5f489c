"""The ports of a PC: a register for each, from the data sheets of its chips.

The registers of vmrun's own devices are those of :mod:`vmspec.registers`, which names their data sheets. The others:
8259A interrupt controller, 8254 timer: their data sheets. 8237A DMA controller, system control ports, reset control:
Intel ICH9 data sheet (316972), chapter 13. PCI configuration: PCI Local Bus Specification 3.0, 3.2.2.3.2. IDE:
ATA/ATAPI-6, 7. Floppy: 82077AA data sheet. Parallel port: IEEE 1284. VGA: IBM VGA technical reference; the same names
are in the Intel open-source PRM, volume "VGA registers".
"""

from collections.abc import Mapping

from tracer.decode import pci
from tracer.decode.register import WRITE, Bit, Field, Register, character, spelled
from vmspec import layout
from vmspec.registers import acpi, debug, fwcfg, i8042, pvpanic, rtc
from vmspec.registers.pci import ADDRESS_PORT, DATA_PORT

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
    halves = value >> 4 & 3
    if halves == 0:
        return f"counter {value >> 6} latch"
    access = ("low byte", "high byte", "low, high byte")[halves - 1]
    mode = value >> 1 & 7
    mode -= 4 if mode > 5 else 0  # bit 2 of modes 2 and 3 does not count
    return f"counter {value >> 6}, {access}, mode {mode}" + (", BCD" if value & 1 else "")


_I8042 = {
    i8042.READ_COMMAND_BYTE: "read command byte",
    i8042.WRITE_COMMAND_BYTE: "write command byte",
    i8042.DISABLE_AUXILIARY: "disable aux",
    i8042.ENABLE_AUXILIARY: "enable aux",
    i8042.TEST_AUXILIARY: "test aux",
    i8042.SELF_TEST: "self-test",
    i8042.TEST_KEYBOARD: "test keyboard",
    i8042.DISABLE_KEYBOARD: "disable keyboard",
    i8042.ENABLE_KEYBOARD: "enable keyboard",
    i8042.READ_INPUT_PORT: "read input port",
    i8042.READ_OUTPUT_PORT: "read output port",
    i8042.WRITE_OUTPUT_PORT: "write output port",
    i8042.WRITE_KEYBOARD_OUTPUT: "write keyboard output",
    i8042.WRITE_AUXILIARY_OUTPUT: "write aux output",
    i8042.WRITE_TO_AUXILIARY: "write to aux",
    i8042.DISABLE_A20: "disable A20",
    i8042.ENABLE_A20: "enable A20",
    **dict.fromkeys(range(i8042.PULSE, 0x100), "pulse output lines"),
    i8042.PULSE_RESET: "pulse reset line",
}
I8042_BYTE = (
    Bit(i8042.KEYBOARD_INTERRUPT, "IRQ1"),
    Bit(i8042.AUXILIARY_INTERRUPT, "IRQ12"),
    Bit(i8042.SYSTEM_FLAG, "SYS"),
    Bit(i8042.IGNORE_LOCK, "no lock"),
    Bit(i8042.KEYBOARD_DISABLED, "keyboard off"),
    Bit(i8042.AUXILIARY_DISABLED, "aux off"),
    Bit(i8042.TRANSLATE, "translate"),
)
# Commands to the keyboard and its answers; other bytes are scan codes, operands.
KEYBOARD_COMMANDS = {
    i8042.SET_LEDS: "set LEDs",
    i8042.ECHO: "echo",
    i8042.SCAN_CODE_SET: "scan code set",
    i8042.IDENTIFY: "identify",
    i8042.TYPEMATIC_RATE: "typematic rate",
    i8042.ENABLE: "enable",
    i8042.DISABLE: "disable",
    i8042.DEFAULTS: "defaults",
    i8042.ALL_TYPEMATIC: "all keys typematic",
    i8042.ALL_MAKE_BREAK: "all keys make/break",
    i8042.ALL_MAKE: "all keys make",
    i8042.ALL_TYPEMATIC_MAKE_BREAK: "all keys typematic, make/break",
    i8042.KEY_TYPEMATIC: "key typematic",
    i8042.KEY_MAKE_BREAK: "key make/break",
    i8042.KEY_MAKE: "key make",
    i8042.RESEND: "resend",
    i8042.RESET: "reset",
}
KEYBOARD_ANSWERS = {
    i8042.SELF_TEST_PASSED: "test passed",
    i8042.ECHO: "echo",
    i8042.ACKNOWLEDGE: "ACK",
    i8042.SELF_TEST_FAILED: "test failed",
    i8042.RESEND: "resend",
}
_I8042_STATUS = (
    Bit(i8042.OUTPUT_FULL, "OBF"),
    Bit(i8042.INPUT_FULL, "IBF"),
    Bit(i8042.SYSTEM_FLAG, "SYS"),
    Bit(i8042.COMMAND_LAST, "A2"),
    Bit(i8042.NOT_INHIBITED, "INH"),
    Bit(i8042.AUXILIARY_FULL, "AUX"),
    Bit(i8042.TIMEOUT, "timeout"),
    Bit(i8042.PARITY_ERROR, "parity"),
)


def i8042_command(value: int, direction: str) -> str:
    """Port 0x64: commands when written, the status when read."""
    if direction == WRITE:
        return _I8042.get(value, "")
    return spelled(value, _I8042_STATUS)


CMOS = {
    rtc.SECONDS: "seconds",
    rtc.SECONDS_ALARM: "seconds alarm",
    rtc.MINUTES: "minutes",
    rtc.MINUTES_ALARM: "minutes alarm",
    rtc.HOURS: "hours",
    rtc.HOURS_ALARM: "hours alarm",
    rtc.WEEKDAY: "day of week",
    rtc.DAY: "day of month",
    rtc.MONTH: "month",
    rtc.YEAR: "year",
    rtc.A: "register A",
    rtc.B: "register B",
    rtc.C: "register C",
    rtc.D: "register D",
    0x0E: "diagnostic status",
    0x0F: "shutdown status",
    0x10: "floppy types",
    0x12: "disk types",
    0x14: "equipment",
    rtc.BASE_KIB: "base memory, low",
    rtc.BASE_KIB + 1: "base memory, high",
    rtc.EXTENDED_KIB: "extended memory, low",
    rtc.EXTENDED_KIB + 1: "extended memory, high",
    rtc.CHECKSUM: "checksum, high",
    rtc.CHECKSUM + 1: "checksum, low",
    rtc.EXTENDED_KIB_FOUND: "extended memory, low",
    rtc.EXTENDED_KIB_FOUND + 1: "extended memory, high",
    rtc.CENTURY: "century",
    rtc.ABOVE_16MIB: "memory above 16 MiB, low",
    rtc.ABOVE_16MIB + 1: "memory above 16 MiB, high",
    rtc.ABOVE_4GIB: "memory above 4 GiB, low",
    rtc.ABOVE_4GIB + 1: "memory above 4 GiB, middle",
    rtc.ABOVE_4GIB + 2: "memory above 4 GiB, high",
}
CMOS_BITS = {
    rtc.A: (Bit(rtc.UIP, "UIP"), Field(rtc.DIVIDER, "DV"), Field(rtc.RATE, "RS")),
    rtc.B: (
        Bit(rtc.SET, "SET"),
        Bit(rtc.PIE, "PIE"),
        Bit(rtc.AIE, "AIE"),
        Bit(rtc.UIE, "UIE"),
        Bit(rtc.SQWE, "SQWE"),
        Field(rtc.DM, "DM", {0: "BCD", 1: "binary"}),
        Field(rtc.HOUR_24, "24/12", {0: "12 h", 1: "24 h"}),
        Bit(rtc.DSE, "DSE"),
    ),
    rtc.C: (Bit(rtc.IRQF, "IRQF"), Bit(rtc.PF, "PF"), Bit(rtc.AF, "AF"), Bit(rtc.UF, "UF")),
    rtc.D: (Bit(rtc.VRT, "VRT"),),
}


def _cmos_index(value: int, direction: str) -> str:
    if direction != WRITE:
        return ""  # the index cannot be read back
    address = value & rtc.ADDRESS
    return CMOS.get(address, f"CMOS {address:#04x}") + (", NMI off" if value & rtc.NMI_OFF else "")


PVPANIC = (
    Bit(pvpanic.PANICKED, "PANICKED"),
    Bit(pvpanic.CRASHLOADED, "CRASHLOADED"),
    Bit(pvpanic.SHUTDOWN, "SHUTDOWN"),
)
_PM1_STATUS = (
    Bit(acpi.TMR_STS, "TMR"),
    Bit(acpi.BM_STS, "BM"),
    Bit(acpi.GBL_STS, "GBL"),
    Bit(acpi.PWRBTN_STS, "PWRBTN"),
    Bit(acpi.SLPBTN_STS, "SLPBTN"),
    Bit(acpi.RTC_STS, "RTC"),
    Bit(acpi.PCIEXP_WAKE_STS, "PCIEXP_WAKE"),
    Bit(acpi.WAK_STS, "WAK"),
)
_PM1_ENABLE = (
    Bit(acpi.TMR_EN, "TMR"),
    Bit(acpi.GBL_EN, "GBL"),
    Bit(acpi.PWRBTN_EN, "PWRBTN"),
    Bit(acpi.SLPBTN_EN, "SLPBTN"),
    Bit(acpi.RTC_EN, "RTC"),
    Bit(acpi.PCIEXP_WAKE_DIS, "PCIEXP_WAKE_DIS"),
)
_PM1_CONTROL = (
    Bit(acpi.SCI_EN, "SCI_EN"),
    Bit(acpi.BM_RLD, "BM_RLD"),
    Bit(acpi.GBL_RLS, "GBL_RLS"),
    Field(acpi.SLP_TYP, "SLP_TYP"),
    Bit(acpi.SLP_EN, "SLP_EN"),
)
_ATA_STATUS = (  # ATA/ATAPI-6, 7.15
    Bit(0x01, "ERR"),
    Bit(0x08, "DRQ"),
    Bit(0x20, "DF"),
    Bit(0x40, "DRDY"),
    Bit(0x80, "BSY"),
)


def _ide(base: int, control: int, name: str) -> Mapping[int, Register]:
    names = ("sector count", "LBA low", "LBA mid", "LBA high", "device")
    registers = {base + offset: Register(f"{name} {text}") for offset, text in enumerate(names, 2)}
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


def _fw_cfg_key(value: int, direction: str) -> str:
    """The item that is selected (QEMU, docs/specs/fw_cfg.rst)."""
    if direction != WRITE:
        return ""
    key = value & ~fwcfg.WRITE
    file = f"file {key - fwcfg.FIRST_FILE}" if fwcfg.FIRST_FILE <= key < 1 << 14 else ""
    return fwcfg.NAMES.get(key, file)


def _swapped(value: int, direction: str) -> str:
    """A big-endian half of an address."""
    return hex(int.from_bytes(value.to_bytes(4, "little"), "big")) if direction == WRITE else ""


PORTS: Mapping[int, Register] = {
    **_dma(),
    0x20: Register("PIC1 IRR/ISR", "PIC1 command", meaning=pic_command),
    0x21: Register("PIC1 IMR", bits=_IRQS),
    0x22: Register("IMCR select"),  # MultiProcessor specification 1.4, 3.6.2.1
    0x23: Register("IMCR data", write_bits=(Field(1, "mode", {0: "PIC mode", 1: "APIC mode"}),)),
    **{0x40 + counter: Register(f"PIT counter {counter}") for counter in range(3)},
    0x43: Register("PIT control", meaning=_pit_control),
    i8042.DATA_PORT: Register("i8042 data"),
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
    i8042.COMMAND_PORT: Register("i8042 status", "i8042 command", meaning=i8042_command),
    rtc.INDEX_PORT: Register("CMOS index", meaning=_cmos_index),
    rtc.DATA_PORT: Register("CMOS data"),
    debug.POST_PORT: Register("POST code"),
    0x92: Register("system control A", bits=(Bit(0x01, "fast reset"), Bit(0x02, "A20"))),
    0xA0: Register("PIC2 IRR/ISR", "PIC2 command", meaning=pic_command),
    0xA1: Register("PIC2 IMR", bits=_SLAVE_IRQS),
    0xB2: Register("APM control"),
    0xB3: Register("APM status"),
    debug.DEBUG_PORT: Register("debug port", meaning=character),
    0xED: Register("I/O delay"),  # where Linux writes with io_delay=0xed
    0xF0: Register("FPU clear busy"),
    **{debug.EXIT_PORT + offset: Register("debug exit", size=4) for offset in range(4)},
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
    fwcfg.SELECTOR_PORT: Register("fw_cfg select", size=2, meaning=_fw_cfg_key),
    fwcfg.DATA_PORT: Register("fw_cfg data"),
    fwcfg.DMA_PORT + fwcfg.HIGH: Register("fw_cfg DMA address, high", size=4, meaning=_swapped),
    fwcfg.DMA_PORT + fwcfg.LOW: Register("fw_cfg DMA address", size=4, meaning=_swapped),
    layout.ACPI_PORTS + acpi.PM1_STATUS: Register("ACPI PM1 status", size=2, bits=_PM1_STATUS),
    layout.ACPI_PORTS + acpi.PM1_ENABLE: Register("ACPI PM1 enable", size=2, bits=_PM1_ENABLE),
    layout.ACPI_PORTS + acpi.PM1_CONTROL: Register("ACPI PM1 control", size=2, bits=_PM1_CONTROL),
    **{
        layout.ACPI_PORTS + offset + 1: Register(f"ACPI PM1 {name}, high")
        for offset, name in ((acpi.PM1_STATUS, "status"), (acpi.PM1_ENABLE, "enable"), (acpi.PM1_CONTROL, "control"))
    },
    layout.PM_TIMER: Register("ACPI timer", size=4),
    layout.ACPI_PORTS + acpi.RESET: Register(
        "ACPI reset", write_bits=(Field(0xFF, "value", {acpi.RESET_VALUE: "reset"}),)
    ),
    ADDRESS_PORT: Register("PCI config address", size=4, meaning=pci.config_address),
    0xCF9: Register("reset control", bits=(Bit(0x02, "SYS_RST"), Bit(0x04, "RST_CPU"), Bit(0x08, "FULL_RST"))),
    0xCFA: Register("PCI mechanism 2 forward"),  # PCI 2.1, 3.7.4.2, where Linux probes for it
    0xCFB: Register("PCI mechanism test"),
    **{DATA_PORT + offset: Register("PCI config data", size=4) for offset in range(4)},
    0x5658: Register("VMware backdoor", size=4),
}
