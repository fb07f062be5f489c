"""Every combination of bits that a data sheet gives a meaning of its own, in words."""

import pytest

from tracer.decode import Decoder, name, value
from tracer.decode.mmio import ioapic_index


def written(port, data, size=1):
    return value("io", port, data, size, "write")


@pytest.mark.parametrize(
    ("lcr", "words"),
    [
        (0x00, "5n1"),
        (0x01, "6n1"),
        (0x02, "7n1"),
        (0x03, "8n1"),
        (0x04, "5n1.5"),
        (0x05, "6n2"),
        (0x07, "8n2"),
        (0x0B, "8o1"),
        (0x13, "8n1"),
        (0x1B, "8e1"),
        (0x23, "8n1"),
        (0x2B, "811"),
        (0x33, "8n1"),
        (0x3B, "801"),
        (0x43, "8n1 BREAK"),
        (0x83, "8n1 DLAB"),
        (0xC3, "8n1 BREAK DLAB"),
    ],
)
def test_line_control(lcr, words):
    """PC16550D, 8.1: 5 bits have one and a half stop bits; stick parity sends the parity bit as 1 or 0."""
    assert value("io", 0x3FB, lcr) == words


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (0x00, "OCW2 rotate in AEOI off"),
        (0x20, "OCW2 EOI"),
        (0x47, "OCW2 no operation"),
        (0x67, "OCW2 EOI of 7"),
        (0x80, "OCW2 rotate in AEOI on"),
        (0xA0, "OCW2 rotate, EOI"),
        (0xC3, "OCW2 lowest priority 3"),
        (0xE5, "OCW2 rotate, EOI of 5"),
        (0x08, "OCW3"),
        (0x09, "OCW3"),
        (0x0A, "OCW3 read IRR"),
        (0x0B, "OCW3 read ISR"),
        (0x0C, "OCW3 poll"),
        (0x28, "OCW3"),
        (0x48, "OCW3 special mask off"),
        (0x68, "OCW3 special mask on"),
        (0x6F, "OCW3 read ISR poll special mask on"),
        (0x10, "ICW1"),
        (0x12, "ICW1 single"),
        (0x18, "ICW1 level"),
        (0x1B, "ICW1 ICW4 follows single level"),
    ],
)
def test_commands_of_the_interrupt_controller(command, words):
    """8259A, "Initialization command words" and "Operation command words"."""
    assert written(0x20, command) == words
    assert written(0xA0, command) == words
    assert value("io", 0x20, command) == ""


@pytest.mark.parametrize(
    ("icw1", "words"),
    [
        (0x11, ["ICW2", "ICW3", "ICW4", "IMR"]),
        (0x10, ["ICW2", "ICW3", "IMR", "IMR"]),
        (0x13, ["ICW2", "ICW4", "IMR", "IMR"]),
        (0x12, ["ICW2", "IMR", "IMR", "IMR"]),
    ],
)
@pytest.mark.parametrize(("base", "chip"), [(0x20, "PIC1"), (0xA0, "PIC2")])
def test_the_words_that_follow(base, chip, icw1, words):
    """ICW3 in cascade mode (SNGL 0), ICW4 if IC4 is set."""
    decoder = Decoder()
    decoder.decode("io", base, 1, "write", icw1)
    assert decoder.decode("io", base + 1, 1, "read", 0)[0] == f"{chip} IMR", "a read is of the mask"
    found = [decoder.decode("io", base + 1, 1, "write", 0)[0] for _ in words]
    assert found == [f"{chip} {word}" for word in words]


@pytest.mark.parametrize(
    ("base", "data", "meaning"),
    [
        (0x20, (0x37, 0x04, 0x03), ("vectors from 0x30", "slaves on IRQ2", "8086 AEOI")),
        (0xA0, (0x70, 0xFA, 0x18), ("vectors from 0x70", "slave id 2", "buffered special nested")),
        (0xA0, (0x70, 0x01, 0x00), ("vectors from 0x70", "slave id 1", "")),
    ],
)
def test_what_the_words_say(base, data, meaning):
    decoder = Decoder()
    decoder.decode("io", base, 1, "write", 0x11)
    assert tuple(decoder.decode("io", base + 1, 1, "write", one)[1] for one in data) == meaning


@pytest.mark.parametrize(
    ("control", "words"),
    [
        (0x10, "counter 0, low byte, mode 0"),
        (0x62, "counter 1, high byte, mode 1"),
        (0xB4, "counter 2, low, high byte, mode 2"),
        (0x36, "counter 0, low, high byte, mode 3"),
        (0x38, "counter 0, low, high byte, mode 4"),
        (0x3B, "counter 0, low, high byte, mode 5, BCD"),
        (0x3C, "counter 0, low, high byte, mode 2"),
        (0x3E, "counter 0, low, high byte, mode 3"),
        (0x40, "counter 1 latch"),
        (0x8F, "counter 2 latch"),
        (0xC2, "read back count and status of 0"),
        (0xC3, "read back count and status of 0"),
        (0xD4, "read back count of 1"),
        (0xE8, "read back status of 2"),
        (0xCE, "read back count and status of 0 1 2"),
        (0xF0, "read back nothing of none"),
    ],
)
def test_control_words_of_the_timer(control, words):
    """8254: modes 6 and 7 are 2 and 3; of the read-back command, COUNT and STATUS are active low."""
    assert written(0x43, control) == words


@pytest.mark.parametrize(
    ("command", "names"),
    [
        (0x20, ("i8042 command byte", "i8042 data")),
        (0x60, ("i8042 data", "i8042 command byte")),
        (0xD1, ("i8042 data", "i8042 output port")),
        (0xD2, ("i8042 data", "i8042 keyboard output")),
        (0xD3, ("i8042 data", "i8042 aux output")),
        (0xD4, ("i8042 data", "i8042 aux")),
        (0xAA, ("i8042 data", "i8042 data")),
    ],
)
def test_what_the_keyboard_controllers_data_port_is_after_a_command(command, names):
    found = []
    for direction in ("read", "write"):
        decoder = Decoder()
        decoder.decode("io", 0x64, 1, "write", command)
        found.append(decoder.decode("io", 0x60, 1, direction, 0xED))
        assert decoder.decode("io", 0x60, 1, "write", 0xED) == ("i8042 data", "set LEDs"), "a command has one operand"
    assert tuple(what for what, _ in found) == names
    assert "set LEDs" not in [meaning for _, meaning in found], "what follows a command is not the keyboard's"


@pytest.mark.parametrize(
    ("address", "where"),
    [
        (0x80000000, "00:00.0+00"),
        (0x80FFFFFF, "ff:1f.7+fc"),
        (0x8001A304, "01:14.3+04"),
        (0x00010000, "01:00.0+00, disabled"),
    ],
)
def test_pci_addresses(address, where):
    """PCI 3.0, 3.2.2.3.2: bits 23-16 bus, 15-11 device, 10-8 function, 7-2 register, 31 enable."""
    assert written(0xCF8, address, 4) == where


@pytest.mark.parametrize(
    ("address", "port", "named"),
    [
        (0x80000000, 0xCFC, "PCI 00:00.0 vendor ID"),
        (0x80000000, 0xCFE, "PCI 00:00.0 device ID"),
        (0x80000803, 0xCFC, "PCI 00:01.0 vendor ID"),
        (0x80000024, 0xCFC, "PCI 00:00.0 BAR5"),
        (0x8000003C, 0xCFD, "PCI 00:00.0 interrupt pin"),
        (0x80000040, 0xCFF, "PCI 00:00.0 +0x43"),
    ],
)
def test_pci_registers(address, port, named):
    decoder = Decoder()
    decoder.decode("io", 0xCF8, 4, "write", address)
    assert decoder.register("io", port, 1, "read")[0] == named


def test_only_a_whole_word_selects_a_pci_function():
    decoder = Decoder()
    decoder.decode("io", 0xCF8, 1, "write", 0x80)
    assert decoder.register("io", 0xCFC, 4, "read")[0] == "PCI config data"


@pytest.mark.parametrize(
    ("index", "named"),
    [
        (0, "ID"),
        (1, "version"),
        (2, "arbitration"),
        (3, "register 0x3"),
        (0xF, "register 0xf"),
        (0x10, "redirection 0 low"),
        (0x11, "redirection 0 high"),
        (0x3F, "redirection 23 high"),
        (0xFF, "redirection 119 high"),
        (0x100, "register 0x100"),
    ],
)
def test_registers_of_the_io_apic(index, named):
    """82093AA, 3.2: redirection table entries are 64 bits, the low half first."""
    assert ioapic_index(index) == named


def test_the_high_half_of_a_redirection_is_a_number():
    decoder = Decoder()
    for index, meaning in ((0x10, "fixed|masked"), (0x11, ""), (0x01, "")):
        decoder.decode("mmio", 0xFEC00000, 4, "write", index)
        assert decoder.decode("mmio", 0xFEC00010, 4, "write", 0x10000)[1] == meaning


@pytest.mark.parametrize(
    ("address", "named"),
    [
        (0xFED00000, "HPET capabilities"),
        (0xFED00004, "HPET capabilities"),
        (0xFED00008, "HPET +0x8"),
        (0xFED00010, "HPET configuration"),
        (0xFED00020, "HPET interrupt status"),
        (0xFED000F4, "HPET main counter"),
        (0xFED000F8, "HPET +0xf8"),
        (0xFED00100, "HPET timer 0 configuration"),
        (0xFED0012C, "HPET timer 1 comparator"),
        (0xFED00150, "HPET timer 2 FSB route"),
        (0xFED00158, "HPET +0x158"),
        (0xFED003FF, "HPET +0x3ff"),
        (0xFED00400, ""),
        (0xFEE00000, "LAPIC +0x0"),
        (0xFEE00FFF, "LAPIC +0xfff"),
        (0xFEE01000, ""),
        (0xFEC00000, "IOAPIC index"),
        (0xFEC00FFF, "IOAPIC +0xfff"),
        (0xFEC01000, ""),
        (0xFEBFFFFF, ""),
    ],
)
def test_registers_in_memory_to_the_edges_of_their_pages(address, named):
    """IA-PC HPET specification 1.0a, 2.3: registers are 64 bits, each half can be accessed alone."""
    assert name("mmio", address, 4) == named


@pytest.mark.parametrize(
    ("access", "meaning"),
    [
        ((0x3F8, 0x41, 1), "'A'"),
        ((0x3F8, 0x7E, 1), "'~'"),
        ((0x3F8, 0x7F, 1), ""),
        ((0x3FD, 0x60, 2), ""),
        ((0x71, 0, 1), ""),
    ],
)
def test_an_access_as_wide_as_the_register_has_its_value(access, meaning):
    assert value("io", *access) == meaning


def test_the_divisor_s_low_byte_says_the_rate():
    decoder = Decoder()
    decoder.decode("io", 0x3FB, 1, "write", 0x80)
    told = [decoder.decode("io", 0x3F8, 1, "write", divisor)[1] for divisor in (1, 12, 0)]
    assert told == ["115200 baud if DLM is 0", "9600 baud if DLM is 0", ""]


@pytest.mark.parametrize(
    ("index", "named"),
    [(0x00, "CMOS seconds"), (0x80, "CMOS seconds"), (0x7F, "CMOS 0x7f"), (0x32, "CMOS century")],
)
def test_the_nmi_mask_is_no_part_of_the_cmos_address(index, named):
    decoder = Decoder()
    decoder.decode("io", 0x70, 1, "write", index)
    assert decoder.register("io", 0x71, 1, "read")[0] == named


def test_a_command_that_the_keyboard_controller_does_not_have_is_a_number():
    assert written(0x64, 0x01) == ""
