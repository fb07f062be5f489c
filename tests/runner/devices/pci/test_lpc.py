"""Q35's LPC bridge: what firmware looks for, and ACPI's timer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.devices.pci.lpc import LPC
from vmspec.registers import pci as P
from vmspec.registers import q35 as R

REGIONS = {"configuration": 0, "timer": 0x1000}
TIMER = REGIONS["timer"]


@pytest.fixture
def guest(plug):
    return plug(LPC(), firsts=REGIONS)


def test_it_is_an_isa_bridge_of_intels(guest):
    assert guest.read(0, 4) == 0x29188086
    assert guest.read(P.CLASS_CODE, 2) >> 0 == 0x0100
    assert guest.read(P.CLASS_CODE + 2, 1) == 0x06
    assert guest.read(P.HEADER_TYPE, 1) == 0


def test_the_power_management_block_is_on_and_cannot_be_moved(guest):
    for offset, size in ((R.PMBASE, 4), (R.ACPI_CNTL, 1)):
        guest.write(offset, 0, size)
    assert (guest.read(R.PMBASE, 4), guest.read(R.ACPI_CNTL, 1)) == (0x601, 0x80)


@pytest.mark.parametrize(("register", "written", "read"), [
    (R.PIRQ, 0xFF, 0x8F), (R.PIRQ + 3, 0x0A, 0x0A), (R.PIRQ2 + 3, 0x0B, 0x0B), (R.PIRQ + 4, 0xFF, 0), (0x50, 0xFF, 0),
])  # fmt: skip
def test_the_routes_of_interrupts_are_remembered(guest, register, written, read):
    guest.write(register, written, 1)
    assert guest.read(register, 1) == read
    guest.device.reset()
    assert guest.read(register, 1) == (0x80 if register in (R.PIRQ, R.PIRQ + 3, R.PIRQ2 + 3) else 0)


@pytest.mark.parametrize(("seconds", "ticks"), [(0, 0), (1, 3_579_545), (5, 5 * 3_579_545 - (1 << 24))])
def test_the_timer_has_24_bits_and_acpis_rate(guest, seconds, ticks):
    start = guest.read(TIMER, 4)
    guest.let_pass(seconds * 1_000_000_000)
    assert abs((guest.read(TIMER, 4) - start & 0xFFFFFF) - ticks) <= 1


@given(st.sampled_from([(at, size) for size in (1, 2, 4) for at in range(4) if at + size <= 4]))
def test_a_part_of_the_timer_is_a_part_of_its_value(plug, access):
    offset, size = access
    guest = plug(LPC(), firsts=REGIONS)
    guest.write(TIMER + offset, 0xFFFFFFFF, size)
    assert guest.read(TIMER + offset, size) == guest.read(TIMER, 4) >> 8 * offset & (1 << 8 * size) - 1
