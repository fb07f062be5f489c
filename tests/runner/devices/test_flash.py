"""Flash memory, driven as firmware drives it, and by anything."""

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.devices.device import LostError
from runner.devices.flash import MODES, Flash, FlashState
from tests.fakes.fakeflash import FlashFile
from vmspec.registers import flash as R

SIZE = 4 * R.BLOCK


class Driver:
    """The device with its file, and what the guest reads without an exit."""

    def __init__(self, plug):
        self.file = FlashFile(SIZE)
        self.guest = plug(Flash(self.file), firsts={"array": 0})
        self.shown = self.guest.direct

    def read(self, at, size=1):
        """The guest's read, which reaches the device only if the array is not shown."""
        if self.shown[-1]:
            return int.from_bytes(self.file.read(at, size), "little")
        return self.guest.read(at, size)

    def write(self, at, *values):
        for value in values:
            self.guest.write(at, value, 1)


@pytest.fixture
def flash(plug):
    return Driver(plug)


def test_it_begins_with_its_array(flash):
    flash.file.data[7] = 0x5A
    assert (flash.shown, flash.read(7), flash.guest.read(7, 1)) == ([True], 0x5A, 0x5A)


@pytest.mark.parametrize("before", [0xFF, 0x50, 0x70, 0x90])
def test_ovmf_recognises_it(flash, before):
    """As QemuFlashDetected does (edk2, OvmfPkg/QemuFlashFvbServicesRuntimeDxe/QemuFlash.c)."""
    flash.file.data[3] = 0x5F
    flash.write(3, before, R.CLEAR_STATUS)
    assert flash.read(3) == 0x5F
    flash.write(3, R.READ_STATUS)
    assert flash.read(3) == 0
    flash.write(3, R.PROGRAM_OLD, 0x5F, R.READ_STATUS)
    assert flash.read(3) & R.PROGRAM_ERROR == 0
    flash.write(3, R.READ_ARRAY)
    assert (flash.read(3), flash.shown[-1]) == (0x5F, True)


@pytest.mark.parametrize("command", [R.PROGRAM, R.PROGRAM_OLD])
def test_programming_only_clears_bits(flash, command):
    flash.write(9, command, 0x3C, command, 0xF0, R.READ_ARRAY)
    assert flash.file.data[9] == 0x30
    assert flash.file.data.count(0xFF) == SIZE - 1


def test_a_byte_to_program_is_no_command(flash):
    for value in (R.READ_ARRAY, R.ERASE, R.CLEAR_STATUS, R.READ_STATUS):
        flash.file.data[0] = 0xFF
        flash.write(0, R.PROGRAM, value)
        assert (flash.file.data[0], flash.read(0)) == (value, R.READY)


def test_erasing_sets_a_block(flash):
    flash.file.data[:] = bytes(SIZE)
    flash.write(R.BLOCK + 5, R.ERASE, R.CONFIRM)
    assert flash.read(0) == R.READY
    flash.write(0, R.READ_ARRAY)
    assert flash.file.data == bytes(R.BLOCK) + b"\xff" * R.BLOCK + bytes(2 * R.BLOCK)


def test_an_erasure_that_is_not_confirmed_is_an_error(flash):
    flash.file.data[:] = bytes(SIZE)
    flash.write(0, R.ERASE, R.READ_ARRAY)
    assert (flash.read(0), flash.file.data) == (R.READY | R.ERASE_ERROR | R.PROGRAM_ERROR, bytes(SIZE))
    flash.write(0, R.CLEAR_STATUS, R.READ_STATUS)
    assert flash.read(0) == 0


def test_it_says_what_it_is(flash):
    flash.write(0, R.READ_IDENTIFIER)
    assert [flash.read(at) for at in (0, 1, 2, 0x100)] == [0x89, 0x18, 0, 0x89]
    assert flash.read(0, 4) == 0x1889


def test_the_guest_reads_without_exits_only_the_array(flash):
    flash.write(0, R.READ_STATUS, R.READ_STATUS, R.READ_ARRAY, R.READ_ARRAY, R.PROGRAM, 0xFF, R.READ_ARRAY)
    assert flash.shown == [True, False, True, False, True]


def test_a_wide_write_is_bytes_at_one_address_after_the_other(flash):
    flash.guest.write(0x10, 0xFF00 | R.PROGRAM, 2)  # the second byte is what is programmed, one address further on
    assert flash.file.data[0x10:0x12] == b"\xff\xff"
    flash.guest.write(0x10, 0x1200 | R.PROGRAM, 2)
    assert flash.file.data[0x10:0x12] == b"\xff\x12"


def test_reset_and_load_show_what_the_mode_says(flash):
    flash.write(0, R.READ_STATUS)
    flash.guest.device.reset()
    assert (flash.shown[-1], flash.guest.device.save()) == (True, FlashState(mode=R.READ_ARRAY, status=R.READY))
    flash.guest.device.load(FlashState(mode=R.ERASE, status=0))
    assert (flash.shown[-1], flash.read(0)) == (False, 0)


def test_a_file_that_cannot_be_written_ends_the_run(flash):
    flash.file.error = OSError(errno.ENOSPC, "No space left on device")
    flash.write(0, R.PROGRAM)
    with pytest.raises(LostError, match="its file cannot be written: No space left on device"):
        flash.guest.device.write("array", 0, 1, 0)


COMMANDS = st.sampled_from([*R.NAMES]) | st.integers(0, 255)


@given(
    st.lists(st.tuples(st.integers(0, SIZE - 8), st.sampled_from((1, 2, 4, 8)), COMMANDS | st.integers(0, 2**64 - 1)))
)
def test_any_writes_leave_a_flash_memory(plug, writes):
    """Bits are only cleared, but by an erasure, whole blocks at once; the size stays; it can be saved at any time."""
    flash = Driver(plug)
    for at, size, value in writes:
        before, mode = bytes(flash.file.data), flash.guest.device.save().mode
        flash.guest.write(at, value & (1 << 8 * size) - 1, size)
        after = flash.file.data
        assert len(after) == SIZE
        risen = [place for place in range(SIZE) if after[place] & ~before[place]] if before != after else []
        assert {place // R.BLOCK for place in risen} <= {at // R.BLOCK, (at + size - 1) // R.BLOCK}
        if risen:
            assert mode == R.ERASE or R.ERASE in value.to_bytes(8, "little")[:size]
        state = flash.guest.device.save()
        assert state.mode in MODES
        assert flash.shown[-1] == (state.mode == R.READ_ARRAY)
        for wide in (1, 2, 4, 8):
            assert 0 <= flash.guest.read(at, wide) < 1 << 8 * wide
