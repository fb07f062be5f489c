"""The host bridge: both ways to configuration space, byte by byte, with and without a function there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.devices.pci.host import HostBridge
from vmspec.registers import pci as R
from vmspec.registers import q35 as chipset

REGIONS = {"address": 0, "data": 4, "ecam": 0x1000, "configuration": 0x200000}
ECAM = REGIONS["ecam"]


class Space:
    """Configuration space with plain memory for two functions, 00:00.0 and 00:03.2."""

    FUNCTIONS = (0, 3 << R.DEVICE | 2 << R.FUNCTION)

    def __init__(self):
        self.bytes = {first + at: at ^ first >> 12 & 0xFF for first in self.FUNCTIONS for at in range(256)}

    def read(self, address, size):
        return sum(self.bytes.get(address + at, 0xFF) << 8 * at for at in range(size))

    def write(self, address, size, value):
        for at in range(size):
            if address + at in self.bytes:
                self.bytes[address + at] = value >> 8 * at & 0xFF


@pytest.fixture
def space():
    return Space()


@pytest.fixture
def guest(plug, space):
    return plug(HostBridge(), firsts=REGIONS, configuration=space)


def select(function, register, enable=R.ENABLE):
    """The address register's value."""
    return enable | function >> 4 & 0xFFFF00 | register & 0xFC


@pytest.mark.parametrize(("offset", "size"), [(0, 1), (1, 1), (2, 1), (3, 1), (0, 2), (2, 2), (1, 2), (0, 4)])
@pytest.mark.parametrize("function", Space.FUNCTIONS)
def test_mechanism_1_by_bytes_words_and_double_words(guest, space, function, offset, size):
    guest.write(0, select(function, 0x40), 4)
    assert guest.read(4 + offset, size) == space.read(function + 0x40 + offset, size)
    guest.write(4 + offset, 0xA5A5A5A5 & (1 << 8 * size) - 1, size)
    assert [space.bytes[function + 0x40 + at] for at in range(offset, offset + size)] == [0xA5] * size


def test_the_address_register_is_read_back_without_its_reserved_bits(guest):
    guest.write(0, 0xFFFFFFFF, 4)
    calls = guest.calls
    assert guest.read(0, 4) == R.ADDRESS
    guest.write(0, 0x80001840, 4)
    assert (guest.read(0, 4), guest.calls) == (0x80001840, calls)  # C has stored it


def test_only_double_words_reach_the_address_register(guest):
    guest.write(0, select(0, 0x40), 4)
    for size in (1, 2):
        guest.write(0, 0, size)
        assert guest.read(0, size) == (1 << 8 * size) - 1
    assert guest.read(0, 4) == select(0, 0x40)


def test_nothing_is_selected_unless_it_is_enabled(guest, space):
    guest.write(0, select(0, 0x40, enable=0), 4)
    before = dict(space.bytes)
    guest.write(4, 0x12345678, 4)
    assert (guest.read(4, 4), space.bytes) == (0xFFFFFFFF, before)


@pytest.mark.parametrize("function", [1 << R.FUNCTION, 31 << R.DEVICE, 1 << R.BUS, 255 << R.BUS | 31 << R.DEVICE])
def test_where_there_is_no_function_reads_are_all_ones(guest, function):
    guest.write(0, select(function, 0), 4)
    guest.write(4, 0, 4)
    assert (guest.read(4, 4), guest.read(4, 2), guest.read(7, 1)) == (0xFFFFFFFF, 0xFFFF, 0xFF)


@given(st.lists(st.tuples(st.integers(0, 0xFFFFF), st.sampled_from((1, 2, 4, 8)), st.none() | st.integers(0, 255))))
def test_memory_reaches_the_same_space(plug, accesses):
    space = Space()
    guest = plug(HostBridge(), firsts=REGIONS, configuration=space)
    for at, size, value in [*accesses, (3 << R.DEVICE | 2 << R.FUNCTION | 0xFC, 4, 7)]:
        if at + size > 1 << 20:
            continue
        if value is not None:
            guest.write(ECAM + at, int.from_bytes(bytes([value]) * size, "little"), size)
        assert guest.read(ECAM + at, size) == space.read(at, size)
    assert space.read(3 << R.DEVICE | 2 << R.FUNCTION | 0xFC, 4) == 0x07070707


@pytest.fixture
def q35(plug, space):
    return plug(HostBridge("q35"), firsts=REGIONS, configuration=space)


def test_q35_is_what_firmware_knows_and_says_what_is_so_anyway(q35):
    first = REGIONS["configuration"]
    assert q35.read(first, 4) == 0x29C08086
    for offset in (chipset.PCIEXBAR, chipset.PCIEXBAR + 4, chipset.PAM):
        q35.write(first + offset, 0, 4)
    assert [q35.read(first + chipset.PCIEXBAR + at, 4) for at in (0, 4)] == [0xE0000001, 0]
    assert [q35.read(first + chipset.PAM + at, 1) for at in range(7)] == [0x30, *[0x33] * 6]


@pytest.mark.parametrize(("value", "ended"), [(0x06, True), (0x0E, True), (0x04, True), (0x02, False), (0x00, False)])
def test_port_0xcf9_resets_q35(q35, guest, value, ended):
    q35.write(chipset.RESET_CONTROL, value, 1)
    assert q35.ends == ([("reset", None)] if ended else [])
    guest.write(chipset.RESET_CONTROL, value, 1)
    assert guest.ends == []


def test_the_bridge_is_a_function_itself(guest):
    first = REGIONS["configuration"]
    assert guest.read(first, 4) == R.HOST_DEVICE << 16 | R.HOST_VENDOR
    assert guest.read(first + R.REVISION_ID, 4) >> 8 == R.HOST_BRIDGE
    assert guest.read(first + R.STATUS, 2) & R.CAPABILITIES_LIST == 0
    guest.write(first + R.BAR, 0xFFFFFFFF, 4)
    assert guest.read(first + R.BAR, 4) == 0
    guest.write(first + R.COMMAND, R.BUS_MASTER, 2)
    assert guest.read(first + R.COMMAND, 2) == R.BUS_MASTER
    assert guest.device.save().function.vectors == ()
