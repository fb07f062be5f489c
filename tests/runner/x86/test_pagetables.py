"""Page tables of every mode, built in a memory of the test's own."""

import struct

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from runner.x86.pagetables import CR4_LA57, CR4_PSE, LARGE, PRESENT, RANGES, Mapping, mappings, page
from runner.x86.state import State
from vmspec.registers import system as R

SIZE = 1 << 20
PAGE = 4096
MiB, GiB = 1 << 20, 1 << 30


class Memory:
    """Guest memory of 1 MiB; ``entry`` writes one of a table."""

    def __init__(self):
        self.bytes = bytearray(SIZE)

    def entry(self, table, index, value, wide=True):
        size = 8 if wide else 4
        at = table + index * size
        self.bytes[at : at + size] = (value | PRESENT).to_bytes(size, "little")

    def read(self, address, size):
        if not 0 <= address <= SIZE - size:
            raise ValueError(f"{address:#x}")
        return bytes(self.bytes[address : address + size])


@pytest.fixture
def memory():
    return Memory()


def state(cr3, cr4=R.CR4_PAE, efer=R.EFER_LME | R.EFER_LMA, cr0=R.CR0_PE | R.CR0_PG):
    return State({}, {}, cr0=cr0, cr3=cr3, cr4=cr4, efer=efer)


def test_without_paging_nothing_is_mapped(memory):
    assert mappings(state(0, cr0=R.CR0_PE), memory.read) == []


def test_pages_of_every_size_in_long_mode(memory):
    memory.entry(0x1000, 0, 0x2000)
    memory.entry(0x2000, 0, 0x3000)
    memory.entry(0x2000, 3, 5 * GiB | LARGE)
    memory.entry(0x3000, 1, 8 * MiB | LARGE | 1 << 63)  # not executable
    memory.entry(0x3000, 0, 0x4000)
    memory.entry(0x4000, 7, 0x9000 | 1 << 6)  # dirty
    assert mappings(state(0x1000), memory.read) == [
        Mapping(0x7000, 0x9000, PAGE),
        Mapping(2 * MiB, 8 * MiB, 2 * MiB),
        Mapping(3 * GiB, 5 * GiB, GiB),
    ]


def test_neighbours_are_joined(memory):
    memory.entry(0x1000, 0, 0x2000)
    memory.entry(0x2000, 0, 0x3000)
    for index in range(512):
        memory.entry(0x3000, index, index * 2 * MiB | LARGE)
    memory.entry(0x2000, 1, GiB | LARGE)
    assert mappings(state(0x1000), memory.read) == [Mapping(0, 0, 2 * GiB)]


def test_addresses_are_canonical(memory):
    memory.entry(0x1000, 511, 0x2000)
    memory.entry(0x2000, 510, 0x3000)
    memory.entry(0x3000, 8, 16 * MiB | LARGE)
    assert mappings(state(0x1000), memory.read) == [Mapping(0xFFFFFFFF81000000, 16 * MiB, 2 * MiB)]


def test_five_levels(memory):
    memory.entry(0x1000, 0x1FF, 0x2000)
    memory.entry(0x2000, 0, 0x3000)
    memory.entry(0x3000, 0, GiB | LARGE)
    found = mappings(state(0x1000, cr4=R.CR4_PAE | CR4_LA57), memory.read)
    assert found == [Mapping(0xFFFF000000000000, GiB, GiB)]


def test_pae(memory):
    memory.entry(0x1020, 3, 0x2000)  # the table is at a multiple of 32
    memory.entry(0x2000, 1, 0x3000)
    memory.entry(0x2000, 2, 6 * MiB | LARGE)
    memory.entry(0x3000, 0, 0x5000)
    assert mappings(state(0x1020, efer=0), memory.read) == [
        Mapping(0xC0200000, 0x5000, PAGE),
        Mapping(0xC0400000, 6 * MiB, 2 * MiB),
    ]


@pytest.mark.parametrize(("cr4", "large"), [(CR4_PSE, True), (0, False)])
def test_32_bit(memory, cr4, large):
    memory.entry(0x1000, 0x300, 0x2000, wide=False)
    memory.entry(0x2000, 5, 0x7000, wide=False)
    memory.entry(0x1000, 0x301, 0x00800000 | LARGE | 1 << 13, wide=False)  # 4 MiB above 4 GiB
    found = mappings(state(0x1000, cr4=cr4, efer=0), memory.read)
    assert found[0] == Mapping(0xC0005000, 0x7000, PAGE)
    assert found[1:] == ([Mapping(0xC0400000, (1 << 32) + 8 * MiB, 4 * MiB)] if large else [])


def test_tables_that_are_not_memory_map_nothing(memory):
    memory.entry(0x1000, 0, 0x100000000)
    assert mappings(state(0x1000), memory.read) == []
    assert mappings(state(0x80000000), memory.read) == []
    assert mappings(state(0x80000000, efer=0), memory.read) == []


def test_tables_that_lead_to_each_other_end(memory):
    for index in range(512):
        memory.entry(0x1000, index, 0x1000)
    assert 0 < len(mappings(state(0x1000), memory.read)) <= RANGES


ENTRIES = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 511), st.integers(0, (1 << 64) - 1)), max_size=30)
MODES = [(R.CR4_PAE, R.EFER_LMA), (R.CR4_PAE | CR4_LA57, R.EFER_LMA), (R.CR4_PAE, 0), (0, 0)]


@given(ENTRIES, st.data())
def test_any_tables_end_in_ranges_of_an_address_space(entries, data):
    memory = Memory()
    for table, index, value in entries:
        near = value & 0x7000 | value & LARGE if value & 1 << 40 else value
        memory.bytes[table * PAGE + 8 * index : table * PAGE + 8 * index + 8] = struct.pack("<Q", near | PRESENT)
    mode = data.draw(st.sampled_from(MODES))
    found = mappings(state(data.draw(st.integers(0, 7)) * PAGE, *mode), memory.read)
    assert all(0 <= each.linear < 1 << 64 and each.linear + each.size <= 1 << 64 for each in found)
    assert all(0 <= each.physical < 1 << 52 and each.size > 0 for each in found)


@given(ENTRIES, st.data())
def test_the_page_of_an_address_is_in_the_ranges(entries, data):
    memory = Memory()
    for table, index, value in entries:
        near = value & 0x7000 | value & LARGE if value & 1 << 40 else value
        memory.bytes[table * PAGE + 8 * index : table * PAGE + 8 * index + 8] = struct.pack("<Q", near | PRESENT)
    now = state(data.draw(st.integers(0, 7)) * PAGE, *data.draw(st.sampled_from(MODES)))
    found = mappings(now, memory.read)
    inside = st.sampled_from(found).flatmap(lambda each: st.integers(each.linear, each.linear + each.size - 1))
    linear = data.draw(st.one_of(inside, st.integers(0, (1 << 64) - 1)) if found else st.integers(0, (1 << 64) - 1))
    expected = [each.physical + linear - each.linear for each in found if 0 <= linear - each.linear < each.size]
    assume(expected or len(found) < RANGES)
    at = page(now, memory.read, linear)
    assert ([] if at is None else [at.physical + linear - at.linear]) == expected


def test_without_paging_addresses_are_physical(memory):
    now = state(0, cr0=R.CR0_PE)
    assert page(now, memory.read, 0x1234) == Mapping(0, 0, 1 << 32)
    assert page(now, memory.read, 1 << 32) is None
