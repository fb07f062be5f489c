"""Small flat guests that find PCI functions, move them and drive them through real exits."""

import struct
from hashlib import blake2b

import pytest

import tracer
from tracer.analysis.kicks import Kicks
from tracer.decode import decoded

pytestmark = pytest.mark.kvm

BYTES = blake2b((0).to_bytes(8, "little"), key=(7).to_bytes(8, "little")).digest()[:32]
VM = {"memory": "2MiB", "irqchip": "kernel", "pit": False, "transport": "pci", "timeout": "20s"}
DEVICES = [
    {"kind": "virtio-rng", "seed": 1},
    {"kind": "virtio-rng", "seed": 7},
    {"kind": "debug-port"},
    {"kind": "debug-exit", "size": 1},
]
# Configuration mechanism 1; text for the debug port.
MACROS = """
.macro select function, register
    mov $0x80000000 + (\\function << 11) + (\\register & 0xfc), %eax
    mov $0xcf8, %dx
    out %eax, %dx
    mov $0xcfc + (\\register & 3), %dx
.endm
.macro show
    .rept 4
    out %al, $0xe9
    shr $8, %eax
    .endr
.endm
"""
END = """
    out %al, $0xf4
    hlt
"""
# Which functions there are, as their number and ids.
ENUMERATE = """
    xor %ebx, %ebx
1:  mov %ebx, %eax
    shl $11, %eax
    or $0x80000000, %eax
    mov $0xcf8, %dx
    out %eax, %dx
    mov $0xcfc, %dx
    in %dx, %eax
    cmp $0xffffffff, %eax
    je 2f
    xchg %eax, %ebx
    out %al, $0xe9
    xchg %eax, %ebx
    show
2:  inc %ebx
    cmp $32, %ebx
    jne 1b
"""
# The size of the second function's base address register, and what is read in it at its old place and at its new one.
MOVE = """
    movb $3, 0xe0008014             # the device's status, which the guest recognises
    select 2, 0x10
    in %dx, %eax
    show
    mov $0xffffffff, %eax
    out %eax, %dx
    in %dx, %eax
    show
    mov 0xe0008014, %al
    out %al, $0xe9
    mov $0xe0100000, %eax
    out %eax, %dx
    mov 0xe0008014, %al
    out %al, $0xe9
    mov 0xe0100014, %al
    out %al, $0xe9
    mov 0xdff10010, %eax            # the same register by ECAM
    show
"""
# Vector 0x41 of the local APIC; a driver of the device at 0xe0100000, whose answer's first 32 bytes are shown.
DRIVE = """
    mov $handler, %eax
    mov %ax, idt + 0x41 * 8
    mov %cs, idt + 0x41 * 8 + 2
    movw $0x8e00, idt + 0x41 * 8 + 4
    shr $16, %eax
    mov %ax, idt + 0x41 * 8 + 6
    lidt idtr
    mov $0x180000, %esp
    movl $0x1ff, 0xfee000f0         # spurious interrupt vector register: enabled
    select 2, 0x10
    mov $0xe0100000, %eax
    out %eax, %dx
    select 2, 0x04
    mov $6, %ax                     # memory, bus master
    out %ax, %dx
    {interrupt}
    movb $0, 0xe0100014
    movb $1, 0xe0100014
    movb $3, 0xe0100014
    movl $1, 0xe0100008
    movl $1, 0xe010000c
    movb $11, 0xe0100014
    movw $0, 0xe0100016
    movw $8, 0xe0100018
    movw $1, 0xe010001a
    movl $0x10000, 0xe0100020
    movl $0x10100, 0xe0100028
    movl $0x10200, 0xe0100030
    movw $1, 0xe010001c
    movb $15, 0xe0100014
    {request}
    movl $0x10000, 0x10100          # one chain, head 0
    movw $0, 0xe0103000
    sti                             # not before: the device may find the chain without being told
1:  pause
    jmp 1b
handler:
    {acknowledge}
    cld
    mov $0x20000, %esi
    mov $32, %ecx
    mov $0xe9, %dx
    rep outsb
    out %al, $0xf4
    hlt
idtr:
    .word 0x42 * 8 - 1
    .long idt
    .balign 8
idt:
    .skip 0x42 * 8
"""
MSIX = """
    movl $0xfee00000, 0xe0104010
    movl $0x41, 0xe0104018
    movl $0, 0xe010401c
    select 2, 0x42
    mov $0x8000, %ax
    out %ax, %dx
"""
# INTA of the second function is IRQ 11: level-triggered, active low, by the I/O APIC alone.
INTA = """
    mov $0xff, %al
    out %al, $0x21
    out %al, $0xa1
    movl $0x27, 0xfec00000
    movl $0, 0xfec00010
    movl $0x26, 0xfec00000
    movl $0xa041, 0xfec00010
"""
# Chains: room for 32 bytes; the header of a disk's request to read its first sector, room for that, and for the status.
ENTROPY = """
    movl $0x20000, 0x10000
    movl $32, 0x10008
    movw $2, 0x1000c
"""
READ = """
    movl $0x30000, 0x10000
    movl $16, 0x10008
    movl $0x10001, 0x1000c
    movl $0x20000, 0x10010
    movl $512, 0x10018
    movl $0x20003, 0x1001c
    movl $0x21000, 0x10020
    movl $1, 0x10028
    movw $2, 0x1002c
"""
ACKNOWLEDGE = """
    mov 0xe0101000, %al
    out %al, $0xe9
    mov 0xe0101000, %al
    out %al, $0xe9
    select 2, 0x06
    in %dx, %ax
    and $8, %al                     # interrupt status
    out %al, $0xe9
"""


@pytest.fixture
def guest(run_guest, assemble):
    def run(code, devices=DEVICES, **vm):
        return run_guest(assemble(MACROS + code, bits=32), boot={"mode": "protected"}, devices=devices, vm=VM | vm)

    return run


def test_a_guest_finds_the_functions(guest):
    result = guest(ENUMERATE + END)
    found = [struct.unpack_from("<BI", result.console, at) for at in range(0, len(result.console), 5)]
    assert (result.kind, found) == ("debug-exit", [(0, 0x00081B36), (1, 0x10441AF4), (2, 0x10441AF4)])


def test_a_guest_sizes_and_moves_a_base_address_register(guest):
    result = guest(MOVE + END)
    shown = struct.unpack("<IIBBBI", result.console)
    assert [hex(value) for value in shown] == ["0xe0008000", "0xffff8000", "0xff", "0xff", "0x3", "0xe0100000"]


def test_a_device_answers_and_sends_its_message(guest):
    result = guest(DRIVE.format(request=ENTROPY, interrupt=MSIX, acknowledge=""))
    assert (result.kind, result.console) == ("debug-exit", BYTES), result.detail
    rows = [row for row in tracer.load(result.trace).table.to_pylist() if row["device"] == "virtio-rng1"]
    notified = next(row for row in rows if row["addr"] == 0xE0103000)
    assert (notified["direction"], notified["size"], notified["data"]) == ("write", 2, 0)
    names = {name for name, _ in decoded(rows)}
    assert {"virtio device_status", "virtio notify", "virtio MSI-X vector 1 data"} <= names


def test_a_device_without_msix_asserts_its_pin_until_its_status_is_read(guest):
    result = guest(DRIVE.format(request=ENTROPY, interrupt=INTA, acknowledge=ACKNOWLEDGE))
    assert (result.kind, result.console) == ("debug-exit", b"\1\0\0" + BYTES), result.detail


@pytest.mark.parametrize(("interrupt", "acknowledge", "shown"), [(MSIX, "", b""), (INTA, ACKNOWLEDGE, b"\1\0\0")])
def test_a_disk_answers_from_c(guest, tmp_path, interrupt, acknowledge, shown):
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(range(256)) * 16)
    devices = [DEVICES[0], {"kind": "virtio-blk", "path": str(image)}, *DEVICES[2:]]
    result = guest(DRIVE.format(request=READ, interrupt=interrupt, acknowledge=acknowledge), devices)
    assert (result.kind, result.console) == ("debug-exit", shown + bytes(range(32))), result.detail
    trace = tracer.load(result.trace)
    (request,) = trace.tables["requests"].table.to_pylist()
    assert (request["device"], request["kind"], request["status"]) == ("virtio-blk0", "read", "ok")
    kick = Kicks(trace).before("virtio-blk0", 0, request["t_available"])
    rows = trace.table.to_pylist()
    assert rows[kick.seq]["addr"] == 0xE0103000


def test_notifications_that_kvm_answers_move_with_the_registers(guest, tmp_path):
    """The guest moves the base address register before it drives the disk."""
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(range(256)) * 16)
    disk = {"kind": "virtio-blk", "path": str(image), "notify": "ioeventfd"}
    code = DRIVE.format(request=READ, interrupt=MSIX, acknowledge="")
    result = guest(code, [DEVICES[0], disk, *DEVICES[2:]])
    assert (result.kind, result.console) == ("debug-exit", bytes(range(32))), result.detail
    trace = tracer.load(result.trace)
    assert [row for row in trace.table.to_pylist() if row["addr"] == 0xE0103000] == []
    (request,) = trace.tables["requests"].table.to_pylist()
    assert (request["kind"], request["status"]) == ("read", "ok")
    assert request["t_available"] == request["t_taken"]


def test_a_machine_without_pci_has_no_bridge(guest):
    result = guest(ENUMERATE + END, transport="mmio")
    assert (result.kind, result.console) == ("debug-exit", b"")


def test_an_empty_bus(guest):
    result = guest(ENUMERATE + END, [{"kind": "pci-host"}, *DEVICES], transport="mmio")
    assert (result.kind, result.console) == ("debug-exit", b"\0\x36\x1b\x08\0")


VECTORS = """
    .irp vector, 0, 1, 2, 0x7ff, 0x800, 0xfffe
    movw $\\vector, 0xe0008010
    mov 0xe0008010, %ax
    out %al, $0xe9
    mov %ah, %al
    out %al, $0xe9
    movw $0, 0xe0008016
    movw $\\vector, 0xe000801a
    mov 0xe000801a, %ax
    out %al, $0xe9
    mov %ah, %al
    out %al, $0xe9
    .endr
"""


def test_a_vector_that_the_table_does_not_have_is_none(guest):
    result = guest(VECTORS + END)
    shown = struct.unpack("<12H", result.console)
    assert (result.kind, shown) == ("debug-exit", (0, 0, 1, 1, *(0xFFFF,) * 8))


def test_the_trace_names_what_was_accessed(guest):
    rows = tracer.load(guest(MOVE + END).trace).table.to_pylist()
    named = [name for name, _ in decoded(rows)]
    assert named.count("PCI 00:02.0 BAR0") == 5
    assert decoded(rows)[0] == ("virtio device_status", "ACKNOWLEDGE|DRIVER")
