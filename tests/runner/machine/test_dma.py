"""What devices write to the guest's memory, kept for a recording."""

import threading
from contextlib import contextmanager
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from runner.machine.asking import Asking
from runner.machine.dma import DMA
from runner.memory import GuestMemory
from runner.native._native import ffi, lib
from tests.fakes.virtqueuefake import EVENT_IDX, VERSION_1, Buffer, DriverQueue
from tests.runner.machine.test_virtualpath import DATA, ROOM, SLOTS, Machine
from vmspec.plan.calls import Slot
from vmspec.trace.record import PAGE, RECORD_SIZE

PAYLOAD = 1 << 20
APART = (Slot(0, 0, 1 << 20, 0), Slot(1, 1 << 32, 4 << 20, 1 << 20))


class Row(NamedTuple):
    seq: int
    device: int
    direction: str
    addr: int
    data: bytes


def ring():
    """A ring that drops what has no room, and what keeps it alive."""
    made, slots = ffi.new("struct ring *"), 1 << 10
    here = ffi.new("uint8_t[]", PAGE + slots * RECORD_SIZE + PAYLOAD)
    lib.ring_init(made, here, slots, PAYLOAD, lib.RING_DROP, -1)
    return made, here


def _raise(error):
    raise error


class Keeper:
    """Keeps the transfers of a memory in the calling thread, each at the exit that it is told."""

    def __init__(self, memory):
        self._exits = ring()
        self._ring = ring()
        self.rows, self.dma = [], DMA(memory, self._ring[0], self._exits[0], self._take)

    @property
    def exit(self):
        return self._exits[0].control.head

    @exit.setter
    def exit(self, number):
        self._exits[0].control.head = number

    def _take(self):
        one, data = ffi.new("struct dma_transfer *"), ffi.new("uint8_t[]", lib.DMA_PIECE)
        while lib.dma_take(self._ring[0], one, data):
            direction = "read" if one.read else "write"
            self.rows.append(Row(one.seq, one.device, direction, one.address, bytes(ffi.buffer(data, one.length))))

    def __enter__(self):
        self.dma.begin()
        return self

    def __exit__(self, *error):
        self.dma.end()
        self._take()

    @contextmanager
    def acting(self, device=0):
        with Asking(_raise, None, self.dma, device):
            yield
        self._take()

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
        (7, 3, "write", (1 << 32) + 5, b"written"),
        (8, 2, "write", 0x1000, b"abcd"),
        (8, 2, "write", 0x1000, b"x"),
        (8, 2, "read", 0x1000, b"xbc"),
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


def test_the_bytes_of_two_calls_are_two_transfers():
    memory = GuestMemory(SLOTS)
    with Keeper(memory) as keeper:
        for number in range(2):
            with keeper.acting():
                memory.write(0x1000 + number, b"a")
    assert [(row.addr, row.data) for row in keeper.rows] == [(0x1000, b"a"), (0x1001, b"a")]


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


def test_without_anybody_who_makes_room_what_has_none_is_dropped_and_counted():
    memory, to = GuestMemory(APART), ring()
    dma = DMA(memory, to[0])
    dma.begin()
    with Asking(_raise, None, dma):
        memory.write(1 << 32, bytes(PAYLOAD + (1 << 16)))
    dma.end()
    assert (to[0].control.head, to[0].control.dropped) == (PAYLOAD >> 16, 1)


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
