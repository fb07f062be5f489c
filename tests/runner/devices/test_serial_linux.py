"""How Linux's 8250 driver detects a UART, and its conclusion.

The sequences are those of autoconfig(), autoconfig_16550a(), size_fifo() and serial8250_do_startup() in
drivers/tty/serial/8250/8250_port.c, with the register names of linux/serial_reg.h.
"""

import pytest

from runner.devices.serial import Serial
from vmspec.registers.serial import (
    DLAB,
    DLL,
    DLM,
    DR,
    ETBEI,
    FCR,
    FIFO_ENABLE,
    IER,
    IIR,
    LCR,
    LOOP,
    LSR,
    MCR,
    MSR,
    NO_INTERRUPT,
    OUT2,
    RBR,
    SCR,
    TEMT,
    THR,
    THRE,
)

CLEAR_FIFOS = FIFO_ENABLE | 0x02 | 0x04
MODE_B = 0xBF  # LCR for parts with an extended features register, at IIR's place
WIDE_FIFO = 0x20  # FCR on a 16750: 64 bytes


def exists(uart):
    saved = uart.read(IER)
    uart.write(IER, 0)
    off = uart.read(IER)
    uart.write(IER, 0x0F)
    on = uart.read(IER)
    uart.write(IER, saved)
    return (off & 0x0F, on & 0x0F) == (0, 0x0F)


def passes_loop_test(uart):
    saved = uart.read(MCR)
    uart.write(MCR, LOOP | 0x0A)
    status = uart.read(MSR) & 0xF0
    uart.write(MCR, saved)
    return status == 0x90


def fifo_size(uart):
    lcr, fcr, mcr = uart.read(LCR), uart.read(IIR), uart.read(MCR)
    uart.write(LCR, 0)
    uart.write(FCR, CLEAR_FIFOS)
    uart.write(MCR, LOOP)
    uart.write(LCR, DLAB)
    divisor = uart.read(DLL), uart.read(DLM)
    uart.write(DLL, 1)
    uart.write(DLM, 0)
    uart.write(LCR, 0x03)
    for byte in range(256):
        uart.write(THR, byte)
    count = 0
    while uart.read(LSR) & DR and count < 256:
        uart.read(RBR)
        count += 1
    uart.write(FCR, fcr)
    uart.write(MCR, mcr)
    uart.write(LCR, DLAB)
    uart.write(DLL, divisor[0])
    uart.write(DLM, divisor[1])
    uart.write(LCR, lcr)
    return count


def kind(uart):
    """autoconfig(): the port type by name, with the FIFO's size where it is asked."""
    if not exists(uart) or not passes_loop_test(uart):
        return "unknown"
    mcr, lcr = uart.read(MCR), uart.read(LCR)
    uart.write(LCR, MODE_B)
    uart.write(FCR, 0)
    uart.write(LCR, 0)
    uart.write(FCR, FIFO_ENABLE)
    found = {0: "8250 or 16450", 1: "unknown", 2: "16550"}.get(uart.read(IIR) >> 6) or with_fifo(uart)
    uart.write(LCR, lcr)
    uart.write(MCR, mcr)
    clear_fifos(uart)
    uart.read(RBR)
    uart.write(IER, 0)
    return found


def with_fifo(uart):
    uart.write(LCR, DLAB)
    if uart.read(IIR) == 0:
        return "16650"
    uart.write(LCR, MODE_B)
    if uart.read(IIR) == 0:
        return "16650V2"
    uart.write(LCR, 0)
    mcr = uart.read(MCR)
    uart.write(LCR, 0xE0)
    first = uart.read(IIR)
    if not (first ^ mcr) & LOOP:
        uart.write(LCR, 0)
        uart.write(MCR, mcr ^ LOOP)
        uart.write(LCR, 0xE0)
        second = uart.read(IIR)
        uart.write(LCR, 0)
        uart.write(MCR, mcr)
        if (second ^ mcr) & LOOP:
            return "NS16550A"
    widths = []
    for bank in (0, DLAB):
        uart.write(LCR, bank)
        uart.write(FCR, FIFO_ENABLE | WIDE_FIFO)
        widths.append(uart.read(IIR) >> 5)
        uart.write(FCR, FIFO_ENABLE)
    uart.write(LCR, 0)
    if widths == [6, 7]:
        return "16750"
    uart.write(IER, uart.read(IER) | 0x40)
    if uart.read(IER) & 0x40:
        return "XScale"
    return f"16550A, {fifo_size(uart)} bytes"


def clear_fifos(uart):
    uart.write(FCR, FIFO_ENABLE)
    uart.write(FCR, CLEAR_FIFOS)
    uart.write(FCR, 0)


def bugs(uart):
    """serial8250_do_startup(): the workarounds that Linux would turn on."""
    found = set()
    clear_fifos(uart)
    clear_interrupts(uart)
    uart.write(IER, ETBEI)
    first = uart.read(IIR)
    uart.write(IER, 0)
    uart.write(IER, ETBEI)
    second = uart.read(IIR)
    uart.write(IER, 0)
    if not first & NO_INTERRUPT and second & NO_INTERRUPT:
        found.add("THRE")
    uart.write(LCR, 0x03)
    uart.write(MCR, OUT2)
    uart.write(IER, ETBEI)
    status, pending = uart.read(LSR), uart.read(IIR)
    uart.write(IER, 0)
    if status & TEMT and pending & NO_INTERRUPT:
        found.add("TXEN")
    clear_interrupts(uart)
    return found


def clear_interrupts(uart):
    for register in (LSR, RBR, IIR, MSR):
        uart.read(register)


def open_port(uart):
    """What follows when a terminal is opened: set_termios() and the modem lines."""
    uart.write(IER, 0x05)
    uart.write(LCR, DLAB | 0x13)
    uart.write(DLL, 1)
    uart.write(DLM, 0)
    uart.write(LCR, 0x13)
    uart.write(FCR, FIFO_ENABLE)
    uart.write(FCR, FIFO_ENABLE | 0x80)
    uart.write(MCR, 0x0B)


@pytest.fixture
def uart(plug):
    return plug(Serial())


def test_autoconfig_finds_a_16550a(uart):
    assert kind(uart) == "16550A, 16 bytes"


def test_autoconfig_leaves_the_port_quiet(uart):
    kind(uart)
    assert (uart.text, uart.level, uart.ends) == (b"", False, [])


def test_startup_finds_no_bugs(uart):
    kind(uart)
    assert bugs(uart) == set()


def test_scratch_register_keeps_what_is_written(uart):
    for value in (0xA5, 0x5A):
        uart.write(SCR, value)
        assert uart.read(SCR) == value


def test_input_that_waited_from_the_start_survives_the_probe(uart):
    data = b"echo typed before there was anyone to read it\n"
    uart.receive(data)
    kind(uart)
    bugs(uart)
    open_port(uart)
    uart.elapse()
    got = b""
    while uart.level:
        assert uart.read(IIR) & 0x0F in (0x04, 0x0C)
        got += bytes((uart.read(RBR),))
    assert got == data


def test_interrupt_driven_output(uart):
    """serial8250_tx_chars(): up to 16 bytes for each interrupt, then the interrupt is turned off."""
    open_port(uart)
    left = bytearray(b"The quick brown fox jumps over the lazy dog. " * 3)
    sent = bytes(left)
    uart.write(IER, 0x07)
    while uart.level:
        assert uart.read(IIR) & 0x0F == 0x02
        assert uart.read(LSR) & THRE
        for byte in left[:16]:
            uart.write(THR, byte)
        del left[:16]
        if not left:
            uart.write(IER, 0x05)
    assert uart.text == sent
