"""What devices write to the guest's memory, kept for a recording."""

import threading

from hypothesis import given
from hypothesis import strategies as st

from runner.machine.asking import Asking
from runner.machine.dma import DMA
from runner.memory import GuestMemory
from runner.native._native import ffi, lib
from tests.fakes.virtqueuefake import EVENT_IDX, VERSION_1, Buffer, DriverQueue
from tests.runner.machine.test_virtualpath import DATA, ROOM, SLOTS, Machine
from vmspec.plan.calls import Slot

APART = (Slot(0, 0, 1 << 20, 0), Slot(1, 1 << 32, 4 << 20, 1 << 20))


def _raise(error):
    raise error


class Keeper:
    """Keeps the transfers of a memory in the calling thread, each at the place that it is told."""

    def __init__(self, memory):
        self.rows, self.exit = [], 0
        self.dma = DMA(memory, lambda: (0, 0, self.exit), lambda *rows: self.rows.extend(rows))

    def __enter__(self):
        self.dma.begin()
        return self

    def __exit__(self, *error):
        lib.dma_begin(ffi.NULL)

    def acting(self, device=0):
        return Asking(_raise, None, self.dma, device)

    def copied(self, memory):
        """Do to another memory what was kept."""
        for row in self.rows:
            if row.direction == "write":
                memory.write(row.addr, row.data)


def contents(memory, slots=SLOTS):
    return [memory.read(slot.start, slot.size) for slot in slots]


def test_a_write_has_its_place_and_its_device():
    memory = GuestMemory(APART)
    with Keeper(memory) as keeper:
        keeper.exit = 7
        with keeper.acting(3):
            memory.write((1 << 32) + 5, b"written")
        keeper.exit = 8
        with keeper.acting(2):
            memory.write(0x1000, b"ab")
            memory.write(0x1002, b"cd")
            memory.write(0x1000, b"x")
            assert memory.read(0x1000, 3) == b"xbc"
    assert [tuple(row) for row in keeper.rows] == [
        (0, 0, 7, 3, "write", (1 << 32) + 5, b"written"),
        (0, 0, 8, 2, "write", 0x1000, b"abcd"),
        (0, 0, 8, 2, "write", 0x1000, b"x"),
        (0, 0, 8, 2, "read", 0x1000, b"xbc"),
    ]


def test_pages_that_are_discarded_are_written_with_zeros():
    memory = GuestMemory(SLOTS)
    with Keeper(memory) as keeper, keeper.acting():
        memory.discard(0x2000, 0x2000)
    assert [(row.addr, row.data) for row in keeper.rows] == [(0x2000, bytes(0x2000))]


def test_another_thread_is_not_kept():
    memory = GuestMemory(SLOTS)

    def other():
        with keeper.acting():
            memory.write(0x1000, b"other")

    with Keeper(memory) as keeper:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        with keeper.acting():
            pass
    assert keeper.rows == []


def test_more_than_there_is_room_for_is_passed_on_meanwhile():
    memory, size = GuestMemory(APART), (3 << 20) + 77
    with Keeper(memory) as keeper, keeper.acting(1):
        memory.write((1 << 32) + 3, bytes(range(256)) * (size // 256))
        assert len(keeper.rows) > 20
    assert max(len(row.data) for row in keeper.rows) == 1 << 16
    assert {row.device for row in keeper.rows} == {1}
    other = GuestMemory(APART)
    keeper.copied(other)
    assert contents(other, APART) == contents(memory, APART)


def test_what_cannot_be_kept_fails_the_call_of_the_device():
    memory, failed = GuestMemory(APART), []

    def keep(*rows):
        raise MemoryError

    dma = DMA(memory, lambda: (0, 0, 0), keep)
    dma.begin()
    asking = Asking(failed.append, None, dma)
    with asking:
        memory.write(1 << 32, bytes(2 << 20))
    with asking:
        memory.write(0, b"a")
    with asking:
        pass
    lib.dma_begin(ffi.NULL)
    assert [type(error) for error in failed] == [MemoryError] * 2


@given(
    sent=st.lists(
        st.tuples(st.integers(0, 1), st.integers(0, 300), st.lists(st.integers(1, 5000), min_size=1, max_size=3)),
        max_size=20,
    ),
    event_index=st.booleans(),
)
def test_a_copy_of_the_memory_follows_from_the_drivers_and_the_devices_writes(sent, event_index):
    """At each step the driver writes to both memories, and what the device has written is copied."""
    memory, copy = GuestMemory(SLOTS), GuestMemory(SLOTS)
    machine = Machine(memory, features=VERSION_1 | (EVENT_IDX if event_index else 0))
    others = [DriverQueue(copy, 8, 0x1000 + 0x4000 * number) for number in range(2)]
    with Keeper(memory) as keeper:

        def act(what):
            with keeper.acting():
                what()
            keeper.copied(copy)
            keeper.rows.clear()
            assert contents(copy) == contents(memory)

        for queue, wait, sizes in sent:
            while machine.path.due is not None and machine.path.due <= machine.now + wait:
                act(machine.tick)
                machine.drivers[queue].done()
                others[queue].done()
            machine.now += wait
            if len(machine.drivers[queue].free) > len(sizes):
                buffers = [Buffer(DATA, sizes[0])]
                buffers += [Buffer(ROOM + 0x2000 * at, size, write=True) for at, size in enumerate(sizes)]
                for each in (memory, copy):
                    each.write(DATA, bytes(at % 251 for at in range(sizes[0])))
                for driver in (machine.drivers[queue], others[queue]):
                    driver.add(buffers)
                act(lambda queue=queue: machine.path.ring(queue))
