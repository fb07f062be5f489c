import struct

import pytest

from runner.boot import modes
from runner.x86.state import Segment, is_reset
from vmspec import layout
from vmspec.plan.plan import Entry


def test_registers_that_are_not_named_are_zero() -> None:
    registers = modes.state(Entry("real", 0x1000, {"rax": 7})).registers
    assert {name for name, value in registers.items() if value} == {"rip", "rax", "rflags"}
    assert (registers["rip"], registers["rax"], registers["rflags"]) == (0x1000, 7, 2)


def test_real_mode_has_16_bit_segments_at_0() -> None:
    state = modes.state(Entry("real", 0, {}))
    assert state.cr0 & 1 == 0
    assert all(segment.base == 0 and segment.limit == 0xFFFF for segment in state.segments.values())
    assert not state.segments["cs"].db


def test_protected_mode_is_flat_and_without_paging() -> None:
    state = modes.state(Entry("protected", 0, {}))
    assert (state.cr0 & 1, state.cr0 >> 31, state.efer) == (1, 0, 0)
    code, data = state.segments["cs"], state.segments["ds"]
    assert (code.selector, code.limit, code.db, code.long) == (0x10, 0xFFFFFFFF, True, False)
    assert (data.selector, data.limit) == (0x18, 0xFFFFFFFF)


def test_long_mode_has_paging_and_64_bit_code() -> None:
    state = modes.state(Entry("long", 0, {}))
    assert (state.cr0 >> 31, state.cr4 >> 5 & 1, state.efer, state.cr3) == (1, 1, 0x500, layout.PAGE_TABLES)
    assert (state.segments["cs"].long, state.segments["cs"].db) == (True, False)


@pytest.mark.parametrize("mode", ["protected", "long"])
def test_any_early_fault_is_a_triple_fault(mode: str) -> None:
    state = modes.state(Entry(mode, 0, {}))
    assert (state.idt.base, state.idt.limit) == (0, 0)


@pytest.mark.parametrize(("mode", "code"), [("protected", 0x00CF9B000000FFFF), ("long", 0x00AF9B000000FFFF)])
def test_gdt_says_what_the_segments_say(mode: str, code: int) -> None:
    assert struct.unpack("<4Q", modes.gdt(mode)) == (0, 0, code, 0x00CF93000000FFFF)


def test_descriptor_takes_base_and_limit_apart() -> None:
    assert modes.descriptor(Segment(base=0x12345678, limit=0xABCDE, type=3, dpl=3)) == 0x120AF3345678BCDE


def translate(tables: bytes, address: int) -> int | None:
    """Walk four-level page tables as the processor does (Intel SDM volume 3, 4.5)."""
    entry = layout.PAGE_TABLES | 1
    for shift in (39, 30, 21):
        at = (entry & ~0xFFF) - layout.PAGE_TABLES + 8 * (address >> shift & 0x1FF)
        (entry,) = struct.unpack_from("<Q", tables, at)
        if not entry & 1:
            return None
    assert entry & 0x80
    return (entry & ~0x1FFFFF) + (address & 0x1FFFFF)


@pytest.mark.parametrize("address", [0, 0x1000, 0x200000, 0x3FFFFFFF, 0x40000000, 0xFEE00000, 0xFFFFFFFF])
def test_first_4_gib_are_at_themselves(address: int) -> None:
    assert translate(modes.page_tables(layout.PAGE_TABLES), address) == address


@pytest.mark.parametrize("address", [1 << 32, 1 << 39, 1 << 47])
def test_nothing_else_is_mapped(address: int) -> None:
    assert translate(modes.page_tables(layout.PAGE_TABLES), address) is None


def test_page_tables_fill_what_is_planned() -> None:
    assert len(modes.page_tables(layout.PAGE_TABLES)) == layout.PAGE_TABLES_SIZE


def test_reset_is_the_state_that_kvm_gives_a_reset_vcpu() -> None:
    assert is_reset(modes.state(Entry("reset", 0xFFF0, {})))
