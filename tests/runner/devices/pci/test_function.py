"""A PCI function: its configuration space, base address registers that move its regions, INTA, MSI-X."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.devices.pci.function import BAR, Function, FunctionState, Identity
from runner.devices.pci.msix import VectorState
from runner.devices.state import StateError
from vmspec import layout
from vmspec.registers import pci as R

REGIONS = {"memory": 0, "ports": 0x1000, "configuration": 0x2000}
PORT_WINDOW = (layout.PCI_IO, layout.PCI_IO + layout.PCI_IO_SIZE)
TABLE, PENDING = 0x100, 0x800
MEMORY, PORTS = layout.PCI_MEMORY + 0x4000, layout.PCI_IO + 0x40
IDENTITY = Identity(0x1234, 0x5678, 0x010802, 3, 0x9ABC, 0xDEF0)


class Card(Function):
    """A function with a base address register of each kind and, by default, three vectors."""

    state_class = FunctionState

    def __init__(self, vectors=3):
        self._vectors = vectors

    def start(self):
        self.begin(IDENTITY, (BAR("memory", 0x1000, MEMORY), BAR("ports", 0x20, PORTS, "port")), 11)
        self.add_msix(self._vectors, TABLE, PENDING)
        self.capability(R.VENDOR_SPECIFIC, bytes(range(5)), bytes(4) + b"\x0f")
        self.power_on()

    def read(self, region, offset, size):
        if region == "configuration":
            return self.read_configuration(offset, size)
        if offset < PENDING:
            return self.msix.read_table(offset - TABLE, size)
        return self.msix.read_pending(offset - PENDING, size)

    def write(self, region, offset, size, value):
        if region == "configuration":
            self.write_configuration(offset, size, value)
        else:
            self.msix.write_table(offset - TABLE, size, value)

    def reset(self):
        self.power_on()

    def save(self):
        return self.save_function()

    def load(self, state):
        self.load_function(state, asserted=False)


class Driver:
    """What a driver does with a card."""

    def __init__(self, guest):
        self.guest = guest
        self.card = guest.device

    def read(self, register, size=4):
        return self.guest.read(REGIONS["configuration"] + register, size)

    def write(self, register, value, size=4):
        self.guest.write(REGIONS["configuration"] + register, value, size)

    def vector(self, number, data, masked=False, address=0xFEE00000):
        for at, value in ((0, address), (4, 0), (8, data), (12, int(masked))):
            self.guest.write(TABLE + 16 * number + at, value, 4)

    def enable(self, control=R.MSIX_ENABLE):
        self.write(R.COMMAND, R.MEMORY_SPACE | R.BUS_MASTER, 2)
        self.write(R.MSIX_AT + R.MSIX_CONTROL, control, 2)


@pytest.fixture
def card(plug):
    return Driver(plug(Card(), firsts=REGIONS))


# The header


def test_the_header_says_what_the_function_is(card):
    assert (card.read(R.VENDOR_ID), card.read(R.SUBSYSTEM_VENDOR_ID)) == (0x56781234, 0xDEF09ABC)
    assert card.read(R.REVISION_ID) == 0x01080203
    assert (card.read(R.HEADER_TYPE, 1), card.read(R.INTERRUPT_LINE, 2)) == (0, R.INTA << 8 | 11)


def test_only_what_can_be_written_changes(card):
    before = card.card.configuration[:]
    for offset in range(0, 256, 4):
        card.write(offset, 0xFFFFFFFF)
    changed = {at: card.read(at, 1) for at in range(256) if card.read(at, 1) != before[at]}
    assert changed.pop(R.INTERRUPT_LINE) == 0xFF
    assert changed.pop(R.COMMAND) == R.IO_SPACE | R.MEMORY_SPACE | R.BUS_MASTER
    assert changed.pop(R.COMMAND + 1) == R.INTX_OFF >> 8
    assert changed.pop(R.MSIX_AT + R.MSIX_CONTROL + 1) == (R.MSIX_ENABLE | R.MSIX_MASK) >> 8
    assert changed.pop(R.MSIX_AT + R.MSIX_SIZE + 6) == 0x0F  # of the other capability
    assert {at - at % 4 for at in changed} == {R.BAR, R.BAR + 4}


def test_capabilities_are_a_list_that_ends(card):
    assert card.read(R.STATUS, 2) & R.CAPABILITIES_LIST
    at, found = card.read(R.CAPABILITIES, 1), []
    while at:
        assert at % 4 == 0
        found.append(card.read(at, 1))
        at = card.read(at + 1, 1)
    assert found == [R.MSIX, R.VENDOR_SPECIFIC]
    assert card.read(R.MSIX_AT + R.MSIX_CONTROL, 2) == 2  # the last of three vectors
    assert (card.read(R.MSIX_AT + R.MSIX_TABLE), card.read(R.MSIX_AT + R.MSIX_PENDING)) == (TABLE, PENDING)


def test_registers_are_written_by_bytes_and_words_too(card):
    card.write(R.BAR + 1, 0x5A, 1)
    card.write(R.BAR + 2, 0xE123, 2)
    assert card.read(R.BAR) == 0xE1235000


# Base address registers


def test_regions_are_where_firmware_would_have_put_them(card):
    assert card.guest.mapped == {"memory": MEMORY, "ports": PORTS}
    assert (card.read(R.BAR), card.read(R.BAR + 4)) == (MEMORY, PORTS | R.IO_BAR)


def test_a_size_is_found_by_writing_ones(card):
    card.write(R.COMMAND, 0, 2)
    for offset, size in ((R.BAR, 0xFFFFF000), (R.BAR + 4, 0xFFFFFFE1), (R.BAR + 8, 0)):
        card.write(offset, 0xFFFFFFFF)
        assert card.read(offset) == size


def test_the_command_register_maps_and_unmaps(card):
    card.write(R.COMMAND, R.MEMORY_SPACE, 2)
    assert card.guest.mapped == {"memory": MEMORY}
    card.write(R.COMMAND, R.IO_SPACE, 2)
    assert card.guest.mapped == {"ports": PORTS}
    card.write(R.COMMAND, 0, 2)
    assert card.guest.mapped == {}


def test_a_region_moves(card):
    card.write(R.BAR, layout.PCI_MEMORY + 0x7000)
    card.write(R.BAR + 4, layout.PCI_IO + 0x20)
    assert card.guest.mapped == {"memory": layout.PCI_MEMORY + 0x7000, "ports": layout.PCI_IO + 0x20}


FIRST, LAST = layout.PCI_REACH[0], layout.PCI_REACH[1] - 0x1000


@pytest.mark.parametrize(
    ("start", "mapped"),
    [
        (FIRST, True),
        (LAST, True),
        (FIRST - 0x1000, False),
        (LAST + 0x1000, False),  # the I/O APIC
        (0, False),
        (layout.LAPIC, False),
        (0xFFFFF000, False),
    ],
)
def test_a_region_is_never_outside_the_windows(card, start, mapped):
    card.write(R.BAR, start)
    assert card.guest.mapped.get("memory") == (start if mapped else None)


def test_a_region_that_would_overlap_another_is_not_mapped_until_it_fits(card):
    card.guest.occupied.add(LAST)
    card.write(R.BAR, LAST)
    assert "memory" not in card.guest.mapped
    card.guest.occupied.clear()
    card.write(R.INTERRUPT_LINE, 5, 1)
    assert card.guest.mapped["memory"] == LAST


# INTA


def test_inta_follows_unless_it_is_off_or_there_is_msix(card):
    card.card.assert_inta(True)
    assert (card.guest.level, card.read(R.STATUS, 2) & R.INTERRUPT_STATUS) == (True, R.INTERRUPT_STATUS)
    card.write(R.COMMAND, R.INTX_OFF, 2)
    assert (card.guest.level, card.read(R.STATUS, 2) & R.INTERRUPT_STATUS) == (False, R.INTERRUPT_STATUS)
    card.write(R.COMMAND, 0, 2)
    assert card.guest.level
    card.enable()
    assert not card.guest.level
    card.card.assert_inta(False)
    assert card.read(R.STATUS, 2) == R.CAPABILITIES_LIST


# MSI-X


def test_a_vector_is_masked_until_the_guest_says_otherwise(card):
    assert [card.guest.read(TABLE + 16 * vector + 12, 4) for vector in range(3)] == [1, 1, 1]
    card.enable()
    card.card.msix.interrupt(1)
    assert (card.guest.messages, card.guest.read(PENDING, 8)) == ([], 0b010)
    card.vector(1, 0x41)
    assert (card.guest.messages, card.guest.read(PENDING, 8)) == ([(0xFEE00000, 0x41)], 0)


def test_a_message_is_what_the_table_says_at_that_moment(card):
    card.enable()
    card.vector(0, 0x41)
    card.card.msix.interrupt(0)
    card.vector(0, 0x42, address=0xFEE01000)
    card.card.msix.interrupt(0)
    assert card.guest.messages[-1] == (0xFEE01000, 0x42)
    assert len(card.guest.messages) == 2


def test_pending_bits_are_read_by_four_or_eight_bytes(plug):
    card = Driver(plug(Card(70), firsts=REGIONS))
    card.enable()
    for vector in (0, 40, 69):
        card.card.msix.interrupt(vector)
    assert [card.guest.read(PENDING + at, 4) for at in (0, 4, 8, 12)] == [1, 1 << 8, 1 << 5, 0]
    assert [card.guest.read(PENDING + at, 8) for at in (0, 8, 16)] == [1 | 1 << 40, 1 << 5, 0]
    assert [card.guest.read(PENDING + at, size) for at, size in ((0, 1), (0, 2), (2, 4), (4, 8))] == [0] * 4


def test_several_interrupts_are_one_while_they_are_pending(card):
    card.enable()
    card.vector(2, 0x41, masked=True)
    for _ in range(3):
        card.card.msix.interrupt(2)
    card.vector(2, 0x41)
    assert len(card.guest.messages) == 1


@pytest.mark.parametrize(
    ("command", "control"),
    [(R.MEMORY_SPACE | R.BUS_MASTER, R.MSIX_ENABLE | R.MSIX_MASK), (R.MEMORY_SPACE, R.MSIX_ENABLE)],
    ids=["function mask", "no bus master"],
)
def test_a_function_that_may_send_nothing_keeps_it_pending(card, command, control):
    card.vector(0, 0x41)
    card.write(R.COMMAND, command, 2)
    card.write(R.MSIX_AT + R.MSIX_CONTROL, control, 2)
    card.card.msix.interrupt(0)
    assert (card.guest.messages, card.guest.read(PENDING, 8)) == ([], 1)
    card.enable()
    assert (card.guest.messages, card.guest.read(PENDING, 8)) == ([(0xFEE00000, 0x41)], 0)


def test_without_msix_and_without_such_a_vector_nothing_is_sent(card):
    card.vector(0, 0x41)
    card.card.msix.interrupt(0)
    card.enable()
    for number in (3, 2048, 0xFFFF):
        card.card.msix.interrupt(number)
    assert (card.guest.messages, card.guest.read(PENDING, 8)) == ([], 0)


def test_the_table_takes_aligned_accesses_of_4_and_8_bytes_alone(card):
    card.vector(1, 0x41)
    for offset, size in ((0, 1), (0, 2), (2, 4), (4, 8), (9, 1)):
        card.guest.write(TABLE + 16 + offset, (1 << 8 * size) - 1, size)
        assert card.guest.read(TABLE + 16 + offset, size) == 0
    assert card.guest.read(TABLE + 16, 8) == 0xFEE00000
    card.guest.write(TABLE + 24, 1 << 32 | 0x51, 8)
    assert card.guest.read(TABLE + 24, 8) == 1 << 32 | 0x51
    card.guest.write(TABLE + 48, 0x123, 4)  # beyond the table
    assert card.guest.read(TABLE + 48, 4) == 0


# Life


def test_a_state_of_another_number_of_vectors_is_rejected(card):
    vector = VectorState(address=0, data=0, masked=True, pending=False)
    state = FunctionState(configuration=bytes(256), vectors=(vector,))
    with pytest.raises(StateError, match="the saved state has 1 MSI-X vectors; this function has 3"):
        card.card.load(state)


def test_a_state_changes_only_what_a_guest_can_write(card):
    before = card.card.save()
    card.card.load(FunctionState(configuration=b"\xff" * 256, vectors=before.vectors))
    assert (card.read(R.VENDOR_ID), card.read(R.BAR)) == (0x56781234, 0xFFFFF000)
    assert card.read(R.STATUS, 2) & R.INTERRUPT_STATUS == 0
    card.card.load(before)
    assert card.card.save() == before


@given(
    accesses=st.lists(
        st.tuples(
            st.booleans(),
            st.integers(0, 0xFF) | st.sampled_from([R.COMMAND, R.BAR, R.BAR + 4, R.MSIX_AT]),
            st.sampled_from((1, 2, 4, 8)),
            st.integers(0, (1 << 64) - 1) | st.sampled_from((0, 7, 0xE0000000, 0xFEBFF000, 0xC001, 0x80020000)),
        ),
        max_size=40,
    )
)
def test_whatever_is_written_the_function_remains_what_it_is(plug, accesses):
    card = Driver(plug(Card(), firsts=REGIONS))
    for write, offset, size, value in accesses:
        if offset + size > 256:
            continue
        if write:
            card.write(offset, value & (1 << 8 * size) - 1, size)
        else:
            assert 0 <= card.read(offset, size) < 1 << 8 * size
        for region, start in card.guest.mapped.items():
            first, end = PORT_WINDOW if region == "ports" else layout.PCI_REACH
            assert first <= start < end
    assert (card.read(R.VENDOR_ID), card.read(R.CAPABILITIES, 1)) == (0x56781234, R.MSIX_AT)
    card.card.reset()
    new = Driver(plug(Card(), firsts=REGIONS))
    assert (card.card.save(), card.guest.mapped, card.guest.level) == (new.card.save(), new.guest.mapped, False)
