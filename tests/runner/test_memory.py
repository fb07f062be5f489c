import ctypes

import pytest

from runner.memory import GuestMemory
from vmspec.plan.calls import Slot

PAGE = 4096
# Two slots with a hole between them, as RAM has under 4 GiB.
SLOTS = (Slot(0, 0, 2 * PAGE, 0), Slot(1, 16 * PAGE, PAGE, 2 * PAGE))


@pytest.fixture
def memory():
    memory = GuestMemory(SLOTS)
    yield memory
    memory.close()


def test_second_slot_follows_the_first_in_the_mapping(memory: GuestMemory) -> None:
    memory.write(16 * PAGE + 5, b"high")
    assert ctypes.string_at(memory.address + 2 * PAGE + 5, 4) == b"high"


def test_host_and_guest_addresses_agree_modulo_a_huge_page() -> None:
    # Several at once: one alone may be aligned by chance.
    memories = [GuestMemory((Slot(0, 0, PAGE * size, 0),)) for size in (1, 3, 511, 513, 1025)]
    offsets = [memory.address % (2 << 20) for memory in memories]
    for memory in memories:
        memory.close()
    assert offsets == [0] * len(memories)


def test_fresh_memory_is_zero_and_keeps_what_is_written(memory: GuestMemory) -> None:
    memory.write(PAGE - 2, b"abcd")
    assert memory.read(PAGE - 4, 8) == b"\0\0abcd\0\0"


def test_view_writes_through(memory: GuestMemory) -> None:
    with memory.view(100, 3) as view:
        view[:] = b"xyz"
    assert memory.read(100, 3) == b"xyz"


@pytest.mark.parametrize(
    ("address", "size"),
    [
        (2 * PAGE - 1, 2),
        (2 * PAGE, 1),
        (15 * PAGE, 1),
        (17 * PAGE - 1, 2),
        (-1, 1),
        (0, 3 * PAGE),
        (0, -1),
        (1 << 64, 1),
    ],
)
def test_outside_ram(memory: GuestMemory, address: int, size: int) -> None:
    with pytest.raises(ValueError, match="is not guest RAM"):
        memory.view(address, size)


def test_close_waits_for_views(memory: GuestMemory) -> None:
    with memory.view(0, 1), pytest.raises(BufferError):
        memory.close()
