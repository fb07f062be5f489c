"""The vCPU loop's part in an exit, with exits that no KVM made."""

import pytest

from runner.native import _native
from vmspec.trace.record import FLAGS, REASONS

ffi, lib = _native.ffi, _native.lib
KVM_EXIT_HLT, KVM_EXIT_INTR, KVM_EXIT_MEMORY_FAULT, UNKNOWN_TO_US = 5, 10, 39, 60


def last(loop):
    """What was recorded last."""
    return loop.rings.last(0, 1)[0]


def test_string_output_of_4000_bytes_is_one_record(loop):
    loop.io(0x3F8, 1, bytes(range(250)) * 16, write=True)
    assert (loop.rings.counters("head"), last(loop)["count"], last(loop)["size"]) == (
        [1],
        4000,
        1,
    )


def test_its_payload_is_whole(loop):
    text = bytes(range(250)) * 16
    loop.io(0x3F8, 1, text, write=True)
    raw = ffi.cast("char *", loop.rings.ring(0).slots) + (loop.rings.ring(0).mask + 1) * 64
    assert ffi.buffer(raw, 4000)[:] == text


def test_eight_bytes_need_no_payload(loop):
    loop.io(0x3F8, 4, b"abcdefgh", write=True)
    record = last(loop)
    assert (record["flags"] & FLAGS["PAYLOAD"], record["data"]) == (0, int.from_bytes(b"abcdefgh", "little"))


def test_the_rest_of_the_data_is_zero(loop):
    loop.io(0x3F8, 4, b"abcdefgh", write=True)
    loop.io(0x3F8, 1, b"a", write=True)
    assert last(loop)["data"] == ord("a")


@pytest.mark.parametrize("reason", [KVM_EXIT_HLT, KVM_EXIT_MEMORY_FAULT])
def test_an_exit_that_ends_the_run_is_recorded_as_the_last(loop, reason):
    loop.exit(reason)
    lib.vcpu_finish(loop.vcpu)
    record = last(loop)
    assert (record["reason"], record["count"], record["flags"]) == (reason, 0, FLAGS["LAST"])


def test_a_reason_that_we_do_not_know_is_recorded_by_its_number(loop):
    loop.exit(UNKNOWN_TO_US)
    lib.vcpu_finish(loop.vcpu)
    assert (REASONS[last(loop)["reason"]], last(loop)["addr"]) == ("unknown", UNKNOWN_TO_US)


def test_exits_are_counted_by_reason(loop):
    loop.io(0x80, 1, b"a", write=True)
    loop.io(0x80, 1, b"a", write=False)
    loop.exit(KVM_EXIT_INTR)
    assert {n: count for n, count in enumerate(loop.vcpu.counts) if count} == {2: 2, KVM_EXIT_INTR: 1}


def test_an_exit_goes_on_after_it_was_published(loop):
    loop.io(0x80, 1, b"a", write=True)
    loop.io(0x80, 1, b"b", write=True)
    assert loop.rings.counters("head") == [2]


REGISTERS, SYSTEM, VALID = 304, 448, 288  # of struct kvm_run: s.regs.regs, s.regs.sregs, kvm_valid_regs
RIP, CR3 = REGISTERS + 16 * 8, SYSTEM + 8 * 24 + 2 * 16 + 16
KVM_EXIT_SHUTDOWN = 8


def put(loop, at, value):
    loop.page[at : at + 8] = value.to_bytes(8, "little")


@pytest.fixture
def synced(loop):
    """A loop whose KVM shows rip 0x1234 and, where it was asked, cr3 0x5000."""
    loop.vcpu.sync_regs = 1
    put(loop, VALID, lib.KVM_SYNC_X86_REGS | lib.KVM_SYNC_X86_SREGS)
    put(loop, RIP, 0x1234)
    put(loop, CR3, 0x5000)
    return loop


def test_a_shutdown_leaves_the_registers_of_the_exit_before(synced):
    synced.io(0x80, 1, b"a", write=True)
    put(synced, RIP, 0xFFF0)
    put(synced, CR3, 0)
    synced.exit(KVM_EXIT_SHUTDOWN)
    assert (synced.vcpu.kept.regs.rip, synced.vcpu.kept.sregs.cr3) == (0x1234, 0x5000)


def test_the_system_registers_are_asked_for_now_and_then(synced):
    asked = []
    for _ in range(1000):
        asked.append(int(synced.vcpu.run.kvm_valid_regs))
        synced.io(0x80, 1, b"a", write=True)
    assert asked[0] == lib.KVM_SYNC_X86_REGS | lib.KVM_SYNC_X86_SREGS
    assert asked.count(lib.KVM_SYNC_X86_REGS) > 500


def test_registers_that_are_not_synced_are_not_kept(loop):
    loop.io(0x80, 1, b"a", write=True)
    assert loop.vcpu.kept.tsc_regs == 0
