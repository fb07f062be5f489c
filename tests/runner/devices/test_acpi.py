"""ACPI's fixed registers."""

import pytest

from runner.devices.acpi import ACPI
from vmspec.registers.acpi import (
    PM1_CONTROL,
    PM1_ENABLE,
    PM1_STATUS,
    PWRBTN_EN,
    PWRBTN_STS,
    RESET,
    S5,
    S5_QEMU,
    SLP_EN,
    WAK_STS,
)


@pytest.fixture
def acpi(plug):
    return plug(ACPI())


@pytest.mark.parametrize("kind", [S5, S5_QEMU])
@pytest.mark.parametrize("low_first", [None, True, False], ids=["word", "low-high", "high-low"])
def test_sleep_type_s5_powers_off(acpi, low_first, kind):
    value = kind << 10 | SLP_EN
    if low_first is None:
        acpi.write(PM1_CONTROL, value, size=2)
    else:
        for at in (0, 1) if low_first else (1, 0):
            acpi.write(PM1_CONTROL + at, value >> 8 * at & 0xFF)
    assert acpi.ends == [("poweroff", None)]


def test_sleep_type_alone_does_nothing(acpi):
    acpi.write(PM1_CONTROL, S5 << 10, size=2)
    assert (acpi.ends, acpi.read(PM1_CONTROL, size=2)) == ([], S5 << 10 | 1)


def test_other_sleep_types_wake_at_once(acpi):
    acpi.write(PM1_CONTROL, 1 << 10 | SLP_EN, size=2)
    assert (acpi.ends, acpi.read(PM1_STATUS, size=2)) == ([], WAK_STS)
    assert acpi.read(PM1_CONTROL, size=2) == 1 << 10 | 1, "SLP_EN is write-only"


def test_status_is_cleared_by_writing_ones(acpi):
    acpi.write(PM1_CONTROL, 1 << 10 | SLP_EN, size=2)
    acpi.write(PM1_STATUS, 0x7FFF, size=2)
    kept = acpi.read(PM1_STATUS, size=2)
    acpi.write(PM1_STATUS, WAK_STS, size=2)
    assert (kept, acpi.read(PM1_STATUS, size=2)) == (WAK_STS, 0)


def test_enable_bits_read_back(acpi):
    """Linux writes a fixed event's enable bit and reads it back (acpi_ev_enable_event)."""
    acpi.write(PM1_ENABLE, 0x0120, size=2)
    assert (acpi.read(PM1_ENABLE, size=2), acpi.level) == (0x0120, False)


def test_enable_bits_that_are_reserved_read_as_zero(acpi):
    """ACPI 6.5, table 4.12: TMR, GBL, PWRBTN, SLPBTN, RTC and PCIEXP_WAKE_DIS are all that there is."""
    acpi.write(PM1_ENABLE, 0xFFFF, size=2)
    assert acpi.read(PM1_ENABLE, size=2) == 0x4721


def test_control_bits_that_are_reserved_read_as_zero(acpi):
    """ACPI 6.5, table 4.13: 15:14 always return zero."""
    acpi.write(PM1_CONTROL, 0xC000, size=2)
    assert acpi.read(PM1_CONTROL, size=2) == 1


def test_acpi_mode_cannot_be_left(acpi):
    acpi.write(PM1_CONTROL, 0, size=2)
    assert acpi.read(PM1_CONTROL, size=2) == 1


@pytest.mark.parametrize(("value", "ends"), [(1, [("reset", None)]), (0, []), (6, [])])
def test_reset_register(acpi, value, ends):
    acpi.write(RESET, value)
    assert acpi.ends == ends


def test_reset_register_reads_as_zero(acpi):
    assert acpi.read(RESET) == 0


def test_control_when_the_power_comes_on_is_acpi_mode(acpi):
    assert acpi.read(PM1_CONTROL, size=2) == 1


def test_control_bits_read_back_but_for_those_that_are_only_written(acpi):
    """ACPI 6.5, table 4.13: BM_RLD is read and written, GBL_RLS is written only."""
    acpi.write(PM1_CONTROL, 0x0006)
    assert acpi.read(PM1_CONTROL, size=2) == 0x0003


def test_the_power_button_interrupts_a_guest_that_has_enabled_it_until_it_is_acknowledged(acpi):
    acpi.device.press_power_button()
    assert (acpi.read(PM1_STATUS, size=2), acpi.level) == (PWRBTN_STS, False)
    acpi.write(PM1_ENABLE, PWRBTN_EN, size=2)
    assert acpi.level
    acpi.device.press_power_button()
    acpi.write(PM1_STATUS, PWRBTN_STS, size=2)
    assert (acpi.read(PM1_STATUS, size=2), acpi.level) == (0, False)
    acpi.device.press_power_button()
    assert (acpi.level, acpi.edges) == (True, 2)
    acpi.write(PM1_ENABLE, 0, size=2)
    assert not acpi.level


def test_the_cause_is_shown_before_the_interrupt(acpi):
    acpi.write(PM1_ENABLE, PWRBTN_EN, size=2)
    acpi.device.press_power_button()
    assert acpi.seen_at_edge[PM1_STATUS + 1, 1] == PWRBTN_STS >> 8


def test_a_reset_releases_the_button(acpi):
    acpi.write(PM1_ENABLE, PWRBTN_EN, size=2)
    acpi.device.press_power_button()
    acpi.device.reset()
    assert (acpi.read(PM1_STATUS, size=2), acpi.level) == (0, False)
