"""Devices as a guest sees them on KVM, through the loop, the bus and the interrupt controllers."""

from datetime import UTC, datetime

import pytest

import tracer

pytestmark = pytest.mark.kvm

SERIAL, DEBUG = {"kind": "serial", "input": "none"}, {"kind": "debug-port"}


def test_devices_print_in_the_order_of_the_guest(run_guest, assemble):
    letters = "".join(
        f"mov ${byte}, %al\n" + ("out %al, %dx\n" if device == "serial" else "out %al, $0xe9\n")
        for device, byte in (("serial", 65), ("debug", 49), ("serial", 66), ("debug", 50), ("serial", 10))
    )
    result = run_guest(
        assemble(f"mov $0x3f8, %dx\n{letters}hlt"),
        devices=[SERIAL, DEBUG],
        expect={"console": ["A", "1", "B", "2"], "exit": "halt"},
    )
    assert (result.console, result.status) == (b"A1B2\n", 0)
    assert tracer.load(result.trace).console() == result.console


def test_text_by_accesses_that_begin_before_the_port(run_guest, assemble):
    """Of a word or dword that begins before COM1, a later byte is its data; the row is the first device's."""
    source = "mov $0x3f7, %dx\nmov $0x4131, %ax\nout %ax, %dx\nmov $0x3f6, %dx\nmov $0x00420a2e, %eax\n"
    source += "out %eax, %dx\nhlt"
    result = run_guest(assemble(source), devices=[SERIAL, DEBUG | {"port": 0x3F7}])
    trace = tracer.load(result.trace)
    assert (result.console, trace.console()) == (b"1A\nB", b"1A\nB")
    assert (trace.console("serial0"), trace.console("debug-port0")) == (b"AB", b"1\n")


# A device whose every access Python answers.
TELLER = """
from runner.devices import Device


class Teller(Device):
    def write(self, region, offset, size, value):
        self.output(bytes((value,)))
"""


def test_python_answered_output_keeps_the_order_of_the_guest(run_guest, assemble):
    own = {"kind": "python", "class": "teller:Teller", "port": [0x300, 1]}
    source = "mov $0x300, %dx\nmov $0x41, %al\n"
    source += "out %al, $0xe9\ninc %al\nout %al, %dx\ninc %al\n" * 3 + "hlt"
    result = run_guest(assemble(source), devices=[DEBUG, own], files={"teller.py": TELLER})
    assert result.console == b"ABCDEF"


# Two registers of a byte, and no more.
MODEL = """
from runner.devices import Device


class Model(Device):
    def __init__(self):
        self.data = bytearray(2)

    def read(self, region, offset, size):
        return sum(self.data[offset + at] << 8 * at for at in range(size))

    def write(self, region, offset, size, value):
        for at in range(size):
            self.data[offset + at] = value >> 8 * at & 0xFF
"""


@pytest.mark.parametrize("where", ["port", "mmio"])
def test_an_access_past_a_claim_is_split(run_guest, assemble, where):
    """A dword from the second of two registers on: the rest is nobody's."""
    own = {"kind": "python", "class": "model:Model"} | {where: [0x300, 2] if where == "port" else [0xD0000000, 2]}
    if where == "port":
        source = "mov $0x301, %dx\nmov $0x44434241, %eax\nout %eax, %dx\nxor %eax, %eax\nin %dx, %eax\n"
    else:
        source = "movl $0x44434241, 0xd0000001\nmov 0xd0000001, %eax\n"
    source += "out %al, $0xe9\nshr $8, %eax\ninc %al\nadd $0x30, %al\nout %al, $0xe9\nhlt"
    result = run_guest(
        assemble(source, bits=16 if where == "port" else 32, origin=0x1000 if where == "port" else 0x100000),
        boot={} if where == "port" else {"mode": "protected"},
        vm={} if where == "port" else {"memory": "2MiB"},
        devices=[DEBUG, own],
        files={"model.py": MODEL},
    )
    assert (result.kind, result.console) == ("halt", b"A0")


# Receive interrupts on an edge-triggered IRQ 4; the handler prints one byte for each. Ends after five.
ONE_BYTE_AN_EDGE = """
    xor %ax, %ax
    mov %ax, %ds
    mov %ax, %ss
    mov $0x7000, %sp
    movw $handler, 0x30         # IRQ 4 is vector 12
    movw $0, 0x32
    .irp word, 0x1120, 0x0821, 0x0421, 0x0121, 0xef21
    mov $\\word >> 8, %al
    out %al, $\\word & 0xff      # ICW1 to 4 and the mask of the first 8259A
    .endr
    .irp word, 0x00fa, 0x0bfc, 0x01f9
    mov $0x300 | (\\word & 0xff), %dx
    mov $\\word >> 8, %al
    out %al, %dx                # FCR: no FIFO; MCR: RTS and OUT2; IER: receive
    .endr
    sti
1:  pause
    cmpb $5, count
    jb 1b
    out %al, $0xf4
handler:
    push %ax
    push %dx
    mov $0x3f8, %dx
    in %dx, %al
    out %al, $0xe9
    incb count
    mov $0x20, %al
    out %al, $0x20
    pop %dx
    pop %ax
    iret
count:
    .byte 0
"""
# FIFOs on and reset; prints LSR then, drains, raises RTS, polls for six bytes.
DRAIN = """
    .irp word, 0x00f9, 0x03fb, 0x07fa
    mov $0x300 | (\\word & 0xff), %dx
    mov $\\word >> 8, %al
    out %al, %dx
    .endr
    mov $0x3fd, %dx
    in %dx, %al
    out %al, $0xe9
1:  mov $0x3fd, %dx
    in %dx, %al
    test $1, %al
    jz 2f
    mov $0x3f8, %dx
    in %dx, %al
    jmp 1b
2:  mov $0x3fc, %dx
    mov $0x0b, %al
    out %al, %dx
    mov $6, %cx
3:  mov $0x3fd, %dx
    in %dx, %al
    test $1, %al
    jz 3b
    mov $0x3f8, %dx
    in %dx, %al
    out %al, $0xe9
    loop 3b
    hlt
"""


@pytest.fixture
def typed(tmp_path):
    """A serial port with input that is there from the start."""
    (tmp_path / "input").write_bytes(b"abcdefghijklmnopqrstuvwxyz")
    return {"kind": "serial", "input": "input", "output": "none"}


def test_each_byte_received_gives_an_edge(run_guest, assemble, typed):
    vm = {"irqchip": "kernel", "pit": False, "timeout": "10s"}
    result = run_guest(assemble(ONE_BYTE_AN_EDGE), devices=[DEBUG, typed, {"kind": "debug-exit"}], vm=vm)
    assert result.console == b"abcde"


def test_a_driver_that_resets_and_drains_the_fifo_gets_the_input(run_guest, assemble, typed):
    assert run_guest(assemble(DRAIN), devices=[DEBUG, typed]).console == b"\x60abcdef"


# Writes a byte after a command and prints what comes: the input port, then the number of the scan code set.
ASK_I8042 = """
    .irp word, 0xc064, 0xf060, 0x0060
    mov $\\word >> 8, %al
    out %al, $\\word & 0xff
1:  in $0x64, %al
    test $1, %al
    jz 2f
    in $0x60, %al
    out %al, $0xe9
    jmp 1b
2:
    .endr
    hlt
"""
# The 31st of January becomes the 15th of April: the month first, and no SET.
SET_DATE = """
    .irp word, 0x0408, 0x1507
    mov $\\word & 0xff, %al
    out %al, $0x70
    mov $\\word >> 8, %al
    out %al, $0x71
    .endr
    .irp register, 7, 8, 9
    mov $\\register, %al
    out %al, $0x70
    in $0x71, %al
    out %al, $0xe9
    .endr
    hlt
"""


def test_the_keyboard_controller_answers_as_qemu_does(run_guest, assemble):
    result = run_guest(assemble(ASK_I8042), devices=[DEBUG, {"kind": "i8042"}])
    assert result.console == bytes.fromhex("80 fa fa 41")


def test_a_date_may_be_written_through_one_that_does_not_exist(run_guest, assemble):
    clock = {"kind": "rtc", "time": datetime(2026, 1, 31, 13, 5, 10, tzinfo=UTC)}
    assert run_guest(assemble(SET_DATE), devices=[DEBUG, clock]).console == bytes.fromhex("15 04 26")


# Reads a byte of RAM at the address that is written to it, and puts the next letter there; a bad address is answered.
DMA = """
from runner.devices import Device


class Dma(Device):
    def write(self, region, offset, size, value):
        try:
            [byte] = self.memory.read(value, 1)
            self.memory.write(value, bytes((byte + 1,)))
        except ValueError as error:
            self.output(str(error).encode())
"""


def test_a_device_reads_and_writes_the_guests_memory_and_nothing_else(run_guest, assemble):
    own = {"kind": "python", "class": "dma:Dma", "port": [0x300, 4]}
    source = """
        xor %ax, %ax
        mov %ax, %ds
        movb $0x41, 0x7000
        mov $0x300, %dx
        mov $0x7000, %eax
        out %eax, %dx
        mov 0x7000, %al
        out %al, $0xe9
        mov $0x100000, %eax
        out %eax, %dx
        hlt
    """
    result = run_guest(assemble(source), devices=[DEBUG, own], files={"dma.py": DMA})
    assert result.console == b"B0x100000..0x100001 is not guest RAM"
