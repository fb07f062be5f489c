"""RAM and the map around it, at the edges: the hole from 3 to 4 GiB (vmspec/layout.py)."""

import pytest

from vmspec.plan.calls import Slot
from vmspec.plan.memory_map import areas, e820, is_ram, slots

GIB = 1 << 30
PAGE = 4096


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        (PAGE, [(0, 0, PAGE, 0)]),
        (3 * GIB, [(0, 0, 3 * GIB, 0)]),
        (3 * GIB + PAGE, [(0, 0, 3 * GIB, 0), (1, 4 * GIB, PAGE, 3 * GIB)]),
    ],
)
def test_ram_begins_again_behind_the_hole(memory: int, expected: list[tuple[int, int, int, int]]) -> None:
    assert slots(memory) == tuple(Slot(*slot) for slot in expected)


@pytest.mark.parametrize(
    ("address", "size", "inside"),
    [
        (0, 1, True),
        (0, 3 * GIB, True),
        (3 * GIB - 1, 1, True),
        (3 * GIB - 1, 2, False),
        (3 * GIB, 1, False),
        (4 * GIB - 1, 1, False),
        (4 * GIB - 1, 2, False),
        (4 * GIB, PAGE, True),
        (4 * GIB, PAGE + 1, False),
        (0, 4 * GIB + PAGE, False),
    ],
)
def test_a_range_is_ram_if_one_slot_has_all_of_it(address: int, size: int, inside: bool) -> None:
    assert is_ram(slots(3 * GIB + PAGE), address, size) is inside


def test_linuxs_map_without_ram_above_the_hole() -> None:
    """What KVM has below 4 GiB is reserved: one page for the identity map, three for the TSS."""
    assert e820(slots(64 << 20)) == (
        (0, 0x9FC00, 1),
        (0x9FC00, 0x400, 2),
        (0xE0000, 0x20000, 2),
        (0x100000, 63 << 20, 1),
        (0xFEFFC000, 0x4000, 2),
    )


def test_the_map_of_a_flat_guest_names_all_below_4_gib() -> None:
    assert areas(slots(1 << 20), False, False, ()) == (
        ("ram", "ram", 0, 1 << 20),
        ("unassigned", "hole", 1 << 20, 0xFEFFC000 - (1 << 20)),
        ("kvm-identity-map", "reserved", 0xFEFFC000, PAGE),
        ("kvm-tss", "reserved", 0xFEFFD000, 3 * PAGE),
        ("unassigned", "hole", 0xFF000000, 16 << 20),
    )


def test_the_map_of_linux_names_the_pcs_places_and_the_interrupt_controllers() -> None:
    assert areas(slots(3 * GIB + PAGE), True, True, ()) == (
        ("base memory", "ram", 0, 0x9FC00),
        ("ebda", "reserved", 0x9FC00, 0x400),
        ("video", "reserved", 0xA0000, 0x40000),
        ("bios tables", "reserved", 0xE0000, 0x20000),
        ("ram", "ram", 1 << 20, 3 * GIB - (1 << 20)),
        ("unassigned", "hole", 3 * GIB, 0xFEC00000 - 3 * GIB),
        ("ioapic", "mmio", 0xFEC00000, PAGE),
        ("unassigned", "hole", 0xFEC01000, 0x1FF000),
        ("lapic", "mmio", 0xFEE00000, PAGE),
        ("unassigned", "hole", 0xFEE01000, 0xFEFFC000 - 0xFEE01000),
        ("kvm-identity-map", "reserved", 0xFEFFC000, PAGE),
        ("kvm-tss", "reserved", 0xFEFFD000, 3 * PAGE),
        ("unassigned", "hole", 0xFF000000, 16 << 20),
        ("ram above 4 GiB", "ram", 4 * GIB, PAGE),
    )
