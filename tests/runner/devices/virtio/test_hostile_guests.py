"""Faults of drivers through real exits that no other file of flat guests has; docs/hostile.md lists all."""

import struct

import pytest

import tracer
from tests.fakes.flatdriver import (
    AVAILABLE,
    DATA,
    HERE,
    HLT,
    USED,
    await_reset_needed,
    await_word,
    describe,
    offer,
    put,
    show,
    show_register,
    start,
    store,
)
from tests.runner.devices.virtio.test_guests import FIRST
from vmspec.registers import virtio as R

pytestmark = pytest.mark.kvm

NEXT, WRITE, INDIRECT = 1, 2, 4
TABLE = 0x18000


def packed(address, length, flags=0, following=0):
    return struct.pack("<QIHH", address, length, flags, following)


def table(*descriptors, flags=INDIRECT, length=None):
    """Offer a chain of an indirect table alone."""
    code = put(TABLE, b"".join(descriptors))
    return code + describe(0, TABLE, 16 * len(descriptors) if length is None else length, flags, 1) + offer(0, 0)


BROKEN_TABLES = {
    "a table in a table": table(packed(TABLE, 16, INDIRECT)),
    "a table with a next descriptor": table(packed(DATA, 4, WRITE), flags=INDIRECT | NEXT),
    "a table of no bytes": table(packed(DATA, 4, WRITE), length=0),
    "a table of one and a half descriptors": table(packed(DATA, 4, WRITE), length=24),
    "a table outside RAM": describe(0, HERE, 16, INDIRECT) + offer(0, 0),
    "a table that loops": table(packed(DATA, 4, WRITE | NEXT, 1), packed(DATA, 4, WRITE | NEXT, 0)),
    "a next beyond the table": table(packed(DATA, 4, WRITE | NEXT, 1)),
    "the largest head": offer(0, 0xFFFF),
}


def again(request):
    """After a broken queue: reset the device, and show what it answers then."""
    return store(AVAILABLE, 0) + store(USED, 0) + start() + request + await_word(USED + 2, 1) + show(DATA, 32)


ENTROPY = describe(0, DATA, 32, WRITE) + offer(0, 0)


@pytest.mark.parametrize("case", BROKEN_TABLES)
def test_a_broken_table_stops_its_device_alone_until_a_reset(run_driver, case):
    result = run_driver(start(features=R.INDIRECT_DESC) + BROKEN_TABLES[case] + await_reset_needed() + again(ENTROPY))
    assert (result.kind, result.console) == ("halt", FIRST[:32])


def test_a_table_that_says_it_is_to_be_written_is_read(run_driver):
    request = table(packed(DATA, 32, WRITE), flags=INDIRECT | WRITE)
    result = run_driver(start(features=R.INDIRECT_DESC) + request + await_word(USED + 2, 1) + show(DATA, 32))
    assert (result.kind, result.console) == ("halt", FIRST[:32])


def test_a_chain_of_four_gib_stops_its_device(run_driver, assemble):
    """512 times the same 8 MiB."""
    fill = assemble(
        """
        mov $0x100000, %edi
        mov $1, %ecx
    1:  movl $0, (%edi)
        movl $0, 4(%edi)
        movl $0x800000, 8(%edi)
        mov %ecx, %eax
        shl $16, %eax
        or $3, %eax                     # NEXT, WRITE
        mov %eax, 12(%edi)
        add $16, %edi
        inc %ecx
        cmp $513, %ecx
        jne 1b
        movl $2, -4(%edi)
        """,
        bits=32,
    )
    request = fill + describe(0, 0x100000, 16 * 512, INDIRECT) + offer(0, 0) + await_reset_needed()
    result = run_driver(start(features=R.INDIRECT_DESC) + request + again(ENTROPY), vm={"memory": "8MiB"})
    assert (result.kind, result.console) == ("halt", FIRST[:32])


@pytest.mark.parametrize("index", [1, 0x10000, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_queue_that_there_is_not_is_none(run_driver, index):
    """All of its registers are written; the one that there is goes on."""
    steps = [(R.QUEUE_SEL, index), (R.QUEUE_NUM, 0xFFFFFFFF), (R.QUEUE_DESC, HERE), (R.QUEUE_DRIVER, HERE)]
    steps += [(R.QUEUE_DEVICE, HERE), (R.QUEUE_READY, 1), (R.QUEUE_NOTIFY, index)]
    code = start() + b"".join(store(HERE + offset, value) for offset, value in steps)
    code += show_register(R.QUEUE_NUM_MAX) + show_register(R.QUEUE_READY)
    result = run_driver(code + ENTROPY + await_word(USED + 2, 1) + show(DATA, 32))
    assert (result.kind, result.console) == ("halt", bytes(8) + FIRST[:32])


BATCHES = 8200


def test_indices_wrap_and_no_interrupt_is_lost(run_driver, assemble):
    """More than 65,536 requests, eight with each notification. The driver asks for an interrupt at the last of them,
    and goes on only when its cause is shown."""
    heads = b"".join(describe(at, DATA + at, 1, WRITE) for at in range(8))
    heads += put(AVAILABLE + 4, struct.pack("<8H", *range(8)))
    loop = assemble(
        f"""
        mov ${BATCHES}, %ecx
    1:  mov {AVAILABLE + 2:#x}, %ax
        add $8, %ax
        mov %ax, %bx
        dec %bx
        mov %bx, {AVAILABLE + 4 + 16:#x}    # used_event
        mov %ax, {AVAILABLE + 2:#x}
        movl $0, {HERE + R.QUEUE_NOTIFY:#x}
    2:  testl $1, {HERE + R.INTERRUPT_STATUS:#x}
        jz 2b
        movl $1, {HERE + R.INTERRUPT_ACK:#x}
        cmp %ax, {USED + 2:#x}
        jne 3f
        dec %ecx
        jnz 1b
    3:
        """,
        bits=32,
    )
    result = run_driver(start(features=R.EVENT_IDX) + heads + loop + show(USED + 2, 2))
    assert (result.kind, result.console) == ("halt", struct.pack("<H", 8 * BATCHES & 0xFFFF))


def test_features_that_were_not_offered_are_refused(run_driver):
    """Bit 6 is none of the device's; without VERSION_1 nothing is taken, and no queue runs."""
    code = b""
    for low, high in ((1 << 6, 1), (0, 1 | 1 << 2), (0, 0), (R.INDIRECT_DESC, 1)):
        steps = [(R.STATUS, 0), (R.STATUS, 3), (R.DRIVER_FEATURES_SEL, 0), (R.DRIVER_FEATURES, low)]
        steps += [(R.DRIVER_FEATURES_SEL, 1), (R.DRIVER_FEATURES, high), (R.STATUS, 11), (R.STATUS, 15)]
        code += b"".join(store(HERE + offset, value) for offset, value in steps) + show_register(R.STATUS)
    assert run_driver(code).console == b"".join(struct.pack("<I", status) for status in (3, 3, 3, 15))


def test_there_is_no_interrupt_for_a_configuration_that_does_not_change(run_driver):
    result = run_driver(start() + show_register(R.INTERRUPT_STATUS) + show_register(R.CONFIG_GENERATION))
    assert (result.kind, result.console) == ("halt", bytes(8))


def test_a_read_over_the_end_of_the_configuration_has_zeros(run_driver, tmp_path):
    """The MTU is the last two of its bytes."""
    device = {"kind": "virtio-net", "listen": str(tmp_path / "wire"), "mtu": 1500}
    result = run_driver(start() + show_register(R.CONFIG + 10) + show_register(R.CONFIG + 12), device)
    assert (result.kind, result.console) == ("halt", struct.pack("<HHI", 1500, 0, 0))


def test_what_is_asked_before_a_reset_is_not_answered_after(run_driver, assemble, tmp_path):
    """A read and a reset at once, 40 times. What the disk has read before the reset is cleared; nothing comes after."""
    image = tmp_path / "disk"
    image.write_bytes(b"\x55" * 4096)
    header, status = 0x30000, 0x30100
    request = put(header, struct.pack("<IIQ", 0, 0, 0)) + describe(0, header, 16, NEXT, 1)
    request += describe(1, DATA, 4096, NEXT | WRITE, 2) + describe(2, status, 1, WRITE)
    turn = store(AVAILABLE, 0) + store(USED, 0) + start() + offer(0, 0) + store(HERE + R.STATUS, 0)
    turn += store(DATA, 0) + store(DATA + 4092, 0) + store(USED, 0) + store(status, 0)
    turn += assemble(
        f"""
        mov $20000, %ecx
    1:  loop 1b
        or {DATA:#x}, %ebx
        or {DATA + 4092:#x}, %ebx
        or {USED:#x}, %ebx
        or {status:#x}, %ebx
        dec %ebp
        """,
        bits=32,
    )
    turn += b"\x0f\x85" + struct.pack("<i", -(len(turn) + 6))  # jnz
    code = request + b"\xbd" + struct.pack("<I", 40) + b"\x31\xdb" + turn  # mov ebp; xor ebx, ebx
    code += b"\x89\x1d" + struct.pack("<I", DATA) + show(DATA, 4)  # mov [..], ebx
    result = run_driver(code, {"kind": "virtio-blk", "path": str(image), "mode": "ro"})
    assert (result.kind, result.console) == ("halt", bytes(4))


def test_a_descriptor_that_changes_meanwhile_harms_nobody(run_guest, assemble):
    """One vCPU turns a buffer into the device's registers and back all the time; the other one asks for bytes, and
    resets the device whenever it is broken. Each answer is whole."""
    rounds = 100
    first = assemble(
        """
        mov $1, %eax
        lock xadd %eax, 0x40000
        test %eax, %eax
        jz 1f
    2:  movl $0xd0000000, 0x10000       # the first descriptor
        movl $0x20000, 0x10000
        jmp 2b
    1:
        """,
        bits=32,
    )
    setup = store(AVAILABLE, 0) + store(USED, 0) + start() + describe(0, DATA, 32, WRITE) + offer(0, 0)
    wait = assemble(
        f"""
    1:  cmpw $1, {USED + 2:#x}
        je 2f
        testl ${R.NEEDS_RESET}, {HERE + R.STATUS:#x}
        jz 1b
    2:  dec %ebp
        """,
        bits=32,
    )
    body = setup + wait + b"\x0f\x85"
    code = first + b"\xbd" + struct.pack("<I", rounds) + body + struct.pack("<i", -(len(body) + 4))
    result = run_guest(
        code + b"\xb0\0\xe6\xf4" + HLT,
        boot={"mode": "protected"},
        devices=[{"kind": "virtio-rng"}, {"kind": "debug-exit"}],
        vm={"vcpus": 2, "timeout": "60s"},
    )
    assert (result.kind, result.status) == ("debug-exit", 1), result.detail
    rows = tracer.load(result.trace).tables["requests"].table.to_pylist()
    assert all((row["room"], row["bytes_in"]) == (32, 32) for row in rows)
