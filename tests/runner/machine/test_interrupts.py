"""Interrupts as the guest takes them: lines and messages, from Python and through an eventfd."""

import os

import pytest

from runner.machine.interrupts import PINS, Interrupts, Unconnected

pytestmark = pytest.mark.kvm

# A device that interrupts as the option says whenever it is written to.
SOURCE = """
import os

from runner.devices import Device


class Source(Device):
    def __init__(self, way):
        self.way = way

    def start(self):
        self.message = self.msi()

    def write(self, region, offset, size, value):
        match self.way:
            case "level":
                self.irq.set(True)
                self.irq.set(False)
            case "pulse":
                self.irq.pulse()
            case "eventfd":
                os.eventfd_write(self.irq.eventfd(), 1)
            case "pulse-eventfd":
                self.irq.eventfd()
                self.irq.pulse()
            case "message":
                self.message.route(0xFEE00000, value)
                self.message.pulse()
            case "message-level":
                self.message.route(0xFEE00000, value)
                self.message.set(True)
                self.message.set(True)
                self.message.set(False)
            case "message-eventfd":
                self.message.route(0xFEE00000, value)
                os.eventfd_write(self.message.eventfd(), 1)
            case "unrouted":
                self.message.pulse()
                assert self.message.eventfd() is None
                self.irq.pulse()
"""
# IRQ 5 through the first 8259A, edge-triggered; the handler prints a letter for each edge, and the third ends the run.
PIC = """
    xor %ax, %ax
    mov %ax, %ds
    mov %ax, %ss
    mov $0x7000, %sp
    movw $handler, 0x34         # IRQ 5 is vector 13
    movw $0, 0x36
    .irp word, 0x1120, 0x0821, 0x0421, 0x0121, 0xdf21
    mov $\\word >> 8, %al
    out %al, $\\word & 0xff      # ICW1 to 4 and the mask
    .endr
    sti
    mov $3, %cx
1:  mov $0x300, %dx
    out %al, %dx
2:  pause
    testb $1, seen
    jz 2b
    movb $0, seen
    loop 1b
    mov $0x20, %al
    out %al, $0xf4
handler:
    mov $0x49, %al
    out %al, $0xe9
    movb $1, seen
    mov $0x20, %al
    out %al, $0x20
    iret
seen:
    .byte 0
"""
# The local APIC on, vector 0x41 set up, then a write of 0x41 to the device; the handler ends the run.
LAPIC = """
    mov $handler, %eax
    mov %ax, idt + 0x41 * 8
    mov %cs, idt + 0x41 * 8 + 2
    movw $0x8e00, idt + 0x41 * 8 + 4
    shr $16, %eax
    mov %ax, idt + 0x41 * 8 + 6
    lidt idtr
    mov $0x180000, %esp
    movl $0x1ff, 0xfee000f0     # spurious interrupt vector register: enabled
    sti
    mov $0x300, %dx
    mov $0x41, %al
    out %al, %dx
1:  pause
    jmp 1b
handler:
    mov $0x4d, %al
    out %al, $0xe9
    out %al, $0xf4
idtr:
    .word 0x42 * 8 - 1
    .long idt
    .balign 8
idt:
    .skip 0x42 * 8
"""


def devices(way, irq=5):
    source = {"kind": "python", "class": "source:Source", "port": [0x300, 1], "irq": irq, "options": {"way": way}}
    return [{"kind": "debug-port"}, {"kind": "debug-exit", "size": 1}, source]


@pytest.mark.parametrize("way", ["level", "pulse", "eventfd", "pulse-eventfd", "unrouted"])
def test_each_edge_of_a_line_interrupts(run_guest, assemble, way):
    vm = {"irqchip": "kernel", "pit": False}
    result = run_guest(assemble(PIC), devices=devices(way), vm=vm, files={"source.py": SOURCE})
    assert (result.kind, result.console) == ("debug-exit", b"III"), result.detail


@pytest.mark.parametrize("way", ["message", "message-level", "message-eventfd"])
def test_a_message_interrupts_the_vcpu_and_vector_that_it_names(run_guest, assemble, way):
    result = run_guest(
        assemble(LAPIC, bits=32),
        boot={"mode": "protected"},
        vm={"memory": "2MiB", "irqchip": "kernel", "pit": False},
        devices=devices(way),
        files={"source.py": SOURCE},
    )
    assert (result.kind, result.console) == ("debug-exit", b"M"), result.report


def test_lines_still_interrupt_once_messages_are_routed(run_guest, assemble):
    """The routing table is set as a whole: KVM's own entries must be in it again."""
    both = SOURCE.replace("            case \"pulse\":\n", "            case \"pulse\":\n"
                          "                self.message.route(0xFEE00000, 0x41)\n")  # fmt: skip
    result = run_guest(
        assemble(PIC), devices=devices("pulse"), vm={"irqchip": "kernel", "pit": False}, files={"source.py": both}
    )
    assert (result.kind, result.console) == ("debug-exit", b"III"), result.detail


@pytest.mark.parametrize("way", ["level", "pulse", "message", "message-level"])
def test_without_interrupt_controllers_an_interrupt_goes_nowhere(run_guest, assemble, way):
    result = run_guest(
        assemble("mov $0x300, %dx\nout %al, %dx\nhlt"),
        devices=devices(way),
        vm={"irqchip": "none"},
        files={"source.py": SOURCE},
    )
    assert result.kind == "halt", result.detail


class RecordingVM:
    """Takes the calls of interrupts."""

    def __init__(self):
        self.calls = []
        self.tables = []

    def irq_line(self, gsi, level):
        self.calls.append((gsi, level))

    def irqfd(self, fd, gsi):
        self.calls.append(("irqfd", gsi))

    def set_gsi_routing(self, routes):
        self.tables.append(list(routes))


class Everything:
    def check_extension(self, name):
        return 1


@pytest.fixture
def interrupts():
    made = Interrupts(Everything(), RecordingVM(), irqchip=True)
    yield made
    made.close()


def test_only_a_change_of_the_line_costs_a_call(interrupts):
    line = interrupts.line(4)
    for level in (False, True, True, False, False):
        line.set(level)
    assert interrupts.vm.calls == [(4, True), (4, False)]


def test_a_pulse_of_a_line_that_is_high_is_an_edge_too(interrupts):
    line = interrupts.line(4)
    line.set(True)
    line.pulse()
    assert interrupts.vm.calls == [(4, True), (4, False), (4, True), (4, False)]


def test_each_message_has_a_gsi_of_its_own_above_the_pins(interrupts):
    first, second = interrupts.message(), interrupts.message()
    first.route(0xFEE00000, 0x41)
    second.route(0xFEE01000, 0x42)
    first.route(0xFEE00000, 0x51)
    assert [tuple(route) for route in interrupts.vm.tables[-1][len(PINS) :]] == [
        (24, 0xFEE00000, 0x51),
        (25, 0xFEE01000, 0x42),
    ]


def test_every_table_has_the_pins_that_kvm_has_by_default(interrupts):
    interrupts.message().route(0xFEE00000, 0x41)
    routes = {(route.gsi, route.irqchip, route.pin) for route in interrupts.vm.tables[0][: len(PINS)]}
    assert routes == {(gsi, 2, gsi) for gsi in range(24)} | {(gsi, gsi // 8, gsi % 8) for gsi in range(16)}


@pytest.mark.parametrize(("address", "data"), [(-1, 0), (1 << 64, 0), (0, 1 << 32), (0, -1)])
def test_a_message_that_cannot_be_is_rejected(interrupts, address, data):
    with pytest.raises(ValueError, match="64-bit address and 32-bit data"):
        interrupts.message().route(address, data)
    assert interrupts.vm.tables == []


def test_an_eventfd_is_made_once_and_closed_with_the_machine(descriptors):
    before = descriptors()
    made = Interrupts(Everything(), RecordingVM(), irqchip=True)
    line = made.line(4)
    assert line.eventfd() == line.eventfd()
    assert made.vm.calls == [("irqfd", 4)]
    made.close()
    assert descriptors() == before
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(line.eventfd())


def test_a_device_without_an_irq_has_a_line_that_goes_nowhere(interrupts):
    assert isinstance(interrupts.line(None), Unconnected)


def test_a_host_without_what_messages_need_is_named(run_guest, lacking):
    from runner import HostError

    lacking("KVM_CAP_IRQ_ROUTING")
    early = SOURCE.replace("self.message = self.msi()", "self.msi().route(0xFEE00000, 0x41)")
    with pytest.raises(HostError, match="lacks KVM_CAP_IRQ_ROUTING, which the interrupt of a device needs"):
        run_guest("f4", devices=devices("message"), vm={"irqchip": "kernel"}, files={"source.py": early})
