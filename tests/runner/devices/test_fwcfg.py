"""fw_cfg: what firmware reads by port and into memory, and a hostile guest that asks for anything."""

import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.devices.fwcfg import FwCfg, Item, of
from runner.memory import GuestMemory
from vmspec.plan.calls import Slot
from vmspec.registers import fwcfg as R

SIZE = 1 << 16
STRUCTURE, BUFFER = 0x100, 0x1000
ITEMS = {R.SIGNATURE: of(R.SIGNED), R.FIRST_FILE: of(bytes(range(1, 101))), R.KERNEL: Item(4096, lambda at, size: b"k")}


class Machine:
    """The device with 64 KiB of RAM, and the ways in which firmware uses it."""

    def __init__(self, plug: Callable[..., Any], items: dict[int, Item] = ITEMS) -> None:
        self.memory = GuestMemory((Slot(0, 0, SIZE, 0),))
        self.guest = plug(FwCfg(items), memory=self.memory, firsts={"registers": 0, "dma": 4})

    def select(self, key: int) -> None:
        self.guest.write(R.SELECTOR, key, 2)

    def take(self, count: int) -> bytes:
        return bytes(self.guest.read(R.DATA) for _ in range(count))

    def transfer(self, control: int, length: int, address: int, at: int = STRUCTURE) -> int:
        """What a transfer leaves in the structure's first word."""
        self.memory.write(at, struct.pack(R.TRANSFER, control, length, address))
        self.guest.write(4 + R.HIGH, int.from_bytes((at >> 32).to_bytes(4, "big"), "little"), 4)
        self.guest.write(4 + R.LOW, int.from_bytes((at & 0xFFFFFFFF).to_bytes(4, "big"), "little"), 4)
        return int.from_bytes(self.memory.read(at, 4), "big")


@pytest.fixture
def machine(plug: Callable[..., Any]) -> Machine:
    return Machine(plug)


def test_an_item_is_read_by_port_and_goes_on_with_zeros(machine: Machine) -> None:
    assert machine.take(6) == b"QEMU\0\0", "the signature is selected at first"
    machine.select(R.FIRST_FILE | R.WRITE)
    assert machine.take(102) == bytes(range(1, 101)) + b"\0\0"
    machine.select(0x3FFF)
    assert machine.take(2) == b"\0\0"


def test_the_selector_is_written_with_16_bits_and_reads_as_nothing(machine: Machine) -> None:
    machine.guest.write(R.SELECTOR, 0xFF)
    machine.guest.write(R.DATA, R.FIRST_FILE)
    assert machine.guest.read(R.SELECTOR) == 0xFF
    assert machine.take(4) == b"QEMU"


@pytest.mark.parametrize(("at", "size", "shown"), [(0, 4, b"QEMU"), (4, 4, b" CFG"), (0, 8, b"QEMU CFG"), (1, 1, b"E")])
def test_the_address_reads_as_the_mark_of_transfers(machine: Machine, at: int, size: int, shown: bytes) -> None:
    assert machine.guest.read(4 + at, size) == int.from_bytes(shown, "little")


def test_a_transfer_selects_skips_and_reads(machine: Machine) -> None:
    assert machine.transfer(R.FIRST_FILE << 16 | R.SELECT | R.READ, 10, BUFFER) == 0
    assert machine.memory.read(BUFFER, 12) == bytes(range(1, 11)) + b"\0\0"
    assert machine.transfer(R.SKIP, 80, 0) == 0
    machine.memory.write(BUFFER, b"\xee" * 16)
    assert machine.transfer(R.READ, 15, BUFFER) == 0
    assert machine.memory.read(BUFFER, 16) == bytes(range(91, 101)) + bytes(5) + b"\xee"


def test_a_transfer_of_nothing_only_selects(machine: Machine) -> None:
    assert machine.transfer(R.FIRST_FILE << 16 | R.SELECT, 10, 1 << 60) == 0
    assert machine.take(1) == b"\x01"


@pytest.mark.parametrize("high", [0, 8])
def test_one_write_of_8_bytes_is_a_transfer_too(machine: Machine, high: int) -> None:
    machine.memory.write(STRUCTURE, struct.pack(R.TRANSFER, R.READ, 4, BUFFER))
    machine.guest.write(4, int.from_bytes((high << 32 | STRUCTURE).to_bytes(8, "big"), "little"), 8)
    assert machine.memory.read(BUFFER, 4) == (bytes(4) if high else b"QEMU")


@pytest.mark.parametrize(("length", "address"), [(16, SIZE - 8), (1, SIZE), (4, 1 << 63), (1, (1 << 64) - 1)])
def test_a_transfer_to_what_is_not_ram_fails(machine: Machine, length: int, address: int) -> None:
    assert machine.transfer(R.READ, length, address) == R.ERROR


def test_nothing_is_written_to_an_item(machine: Machine) -> None:
    machine.memory.write(BUFFER, b"evil")
    assert machine.transfer(R.PUT, 4, BUFFER) == R.ERROR
    assert machine.take(4) == b"QEMU"


@pytest.mark.parametrize("at", [SIZE - 8, SIZE, (1 << 64) - 8])
def test_a_structure_that_is_not_in_ram_changes_nothing(machine: Machine, at: int) -> None:
    before = machine.memory.read(0, SIZE - 8)
    machine.guest.write(4, int.from_bytes(at.to_bytes(8, "big"), "little"), 8)
    assert machine.memory.read(0, SIZE - 8) == before
    assert machine.take(4) == b"QEMU"


def test_a_transfer_over_its_own_structure_is_of_what_it_said_before(machine: Machine) -> None:
    machine.transfer(R.FIRST_FILE << 16 | R.SELECT | R.READ, 100, STRUCTURE)
    assert machine.memory.read(STRUCTURE, 100) == bytes(4) + bytes(range(5, 101))


def test_a_file_that_has_become_shorter_goes_on_with_zeros(machine: Machine) -> None:
    assert machine.transfer(R.KERNEL << 16 | R.SELECT | R.READ, 3, BUFFER) == 0
    assert machine.memory.read(BUFFER, 3) == b"k\0\0"


def test_an_item_larger_than_ram_is_never_made_at_once(plug: Callable[..., Any]) -> None:
    sizes = []
    machine = Machine(plug, {0: Item((1 << 32) - 1, lambda at, size: sizes.append(size) or bytes(size))})
    assert machine.transfer(R.READ, (1 << 32) - 1, 0) == R.ERROR
    assert sizes == [1 << 20]


@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from([0, 1, 4, 5, 8]), st.sampled_from([1, 2, 4, 8]), st.integers(0, (1 << 64) - 1)),
            st.tuples(
                st.integers(0, SIZE - 16),
                st.integers(0, 31) | st.integers(0, (1 << 32) - 1),
                st.integers(0, 300) | st.integers(0, (1 << 32) - 1),
                st.integers(0, SIZE + 100) | st.integers(0, (1 << 64) - 1),
            ),
        ),
        max_size=12,
    )
)
def test_a_hostile_guest_reaches_only_its_ram(plug: Callable[..., Any], accesses: list[tuple[int, ...]]) -> None:
    """No error comes of any access; what a transfer leaves says whether its target was RAM; the state can be saved."""
    machine = Machine(plug)
    for access in accesses:
        if len(access) == 3:
            at, size, value = access
            machine.guest.write(at, value & (1 << 8 * size) - 1, size)
            assert 0 <= machine.guest.read(at, size) < 1 << 8 * size
            continue
        at, control, length, address = access
        left = machine.transfer(control, length, address, at)
        inside = address + length <= SIZE
        if control & R.READ and length and not inside:
            assert left == R.ERROR
        elif not control & R.READ and not control & R.PUT:
            assert left == 0
    saved = machine.guest.device.save()
    machine.guest.device.reset()
    assert machine.take(4) == b"QEMU"
    machine.guest.device.load(saved)
    assert machine.guest.device.save() == saved
    machine.memory.close()
