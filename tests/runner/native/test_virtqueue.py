"""The walker of split virtqueues against a driver written from the specification, and against hostile ones."""

import struct
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.memory import GuestMemory
from runner.native._native import ffi, lib
from tests.fakes.virtqueuefake import EVENT_IDX, INDIRECT, INDIRECT_DESC, NEXT, NO_INTERRUPT, WRITE, Buffer, DriverQueue
from tests.fakes.virtqueuefake import descriptor as packed
from vmspec.plan.calls import Slot

PAGE = 4096
# RAM as a guest with a hole has it: 64 pages at 0 and 16 pages above the hole.
LOW, HOLE, HIGH, TOP = 0, 64 * PAGE, 256 * PAGE, 272 * PAGE
SLOTS = (Slot(0, LOW, HOLE, 0), Slot(1, HIGH, TOP - HIGH, HOLE))
ROM = 1 << 30
DATA = 0x20000  # where buffers lie
TABLE = 0x18000


@pytest.fixture
def memory(tmp_path):
    memory = GuestMemory(SLOTS)
    rom = tmp_path / "rom"
    rom.write_bytes(bytes(PAGE))
    with rom.open("rb") as file:
        memory.add(ROM, PAGE, file.fileno(), read_only=True)
    yield memory
    memory.close()


class DeviceQueue:
    """The device's side: the C walker."""

    def __init__(self, memory, driver, features=INDIRECT_DESC, size=None, areas=None):
        self.queue, self.chain = ffi.new("struct virtqueue *"), ffi.new("struct virtqueue_chain *")
        self.fault = lib.virtqueue_start(
            self.queue, memory.table, driver.size if size is None else size, *(areas or driver.areas), features
        )
        self.memory = memory

    def take(self):
        """The next chain: its head, and the ranges to read and to write as (guest's address, length)."""
        if not lib.virtqueue_take(self.queue, self.chain):
            return None
        split, end = self.chain.n_readable, self.chain.n_readable + self.chain.n_writable
        ranges = [(self.address(r.iov_base), r.iov_len) for r in self.chain.ranges[0:end]]
        out, into = ranges[:split], ranges[split:]
        assert (self.chain.readable, self.chain.writable) == (sum(n for _, n in out), sum(n for _, n in into))
        return self.chain.head, out, into

    def address(self, host):
        host = int(ffi.cast("uintptr_t", host))
        return next(r.start + host - r.host for r in self.memory.regions if r.host <= host < r.host + r.size)


def test_chains_are_taken_in_order_and_put_back(memory):
    driver = DriverQueue(memory, 8)
    device = DeviceQueue(memory, driver)
    assert device.take() is None
    first = driver.add([Buffer(DATA, 16), Buffer(HIGH, PAGE, write=True), Buffer(DATA + 100, 1, write=True)])
    second = driver.add([Buffer(DATA + 200, 7)])
    assert device.take() == (first, [(DATA, 16)], [(HIGH, PAGE), (DATA + 100, 1)])
    assert device.take() == (second, [(DATA + 200, 7)], [])
    assert device.take() is None
    lib.virtqueue_put(device.queue, second, 0)
    lib.virtqueue_put(device.queue, first, 4097)
    assert driver.done() == [(second, 0), (first, 4097)]


def test_bytes_are_copied_across_ranges(memory):
    driver = DriverQueue(memory, 8)
    device = DeviceQueue(memory, driver)
    memory.write(DATA, b"abc")
    memory.write(HIGH, b"defg")
    driver.add([Buffer(DATA, 3), Buffer(HIGH, 4), Buffer(DATA + 64, 2, write=True), Buffer(DATA + 80, 3, write=True)])
    device.take()
    to = ffi.new("char[16]")
    assert [(lib.chain_read(device.chain, at, to, n), ffi.buffer(to, n)[:]) for at, n in ((0, 7), (2, 3), (3, 1))] == [
        (7, b"abcdefg"), (3, b"cde"), (1, b"d"),
    ]  # fmt: skip
    assert lib.chain_read(device.chain, 5, to, 16) == 2
    assert lib.chain_read(device.chain, 7, to, 1) == 0
    assert lib.chain_write(device.chain, 1, b"XYZ", 3) == 3
    assert lib.chain_write(device.chain, 4, b"!?", 2) == 1
    assert (memory.read(DATA + 64, 2), memory.read(DATA + 80, 3)) == (b"\0X", b"YZ!")


@st.composite
def requests(draw, size, index):
    """A chain for a queue: buffers in order, by descriptors or by a table; each in memory of its own."""
    count = draw(st.integers(1, size))
    outs = draw(st.integers(0, count))
    at = DATA + index * 0x100
    buffers = []
    for number in range(count):
        length = draw(st.integers(1, 16))
        buffers.append(Buffer(at, length, write=number >= outs))
        at += length
    return buffers, draw(st.booleans())


@given(st.data())
def test_any_traffic_of_a_correct_driver_is_understood(data):
    """Chains come and go in any order, past the indices' 16 bits."""
    memory = GuestMemory(SLOTS)
    size = data.draw(st.sampled_from((1, 2, 4, 8)))
    driver = DriverQueue(memory, size)
    device = DeviceQueue(memory, driver)
    start = data.draw(st.sampled_from((0, 0xFFF0, 0xFFFF)))  # as after so many chains
    driver.index = driver.seen = device.queue.taken = device.queue.put = start
    memory.write(driver.available + 2, struct.pack("<H", start))
    memory.write(driver.used + 2, struct.pack("<H", start))
    waiting, held, number = [], [], 0
    for _ in range(data.draw(st.integers(1, 40))):
        match data.draw(st.sampled_from(("add", "take", "put"))):
            case "add" if driver.free:
                buffers, indirect = data.draw(requests(len(driver.free), number % 128))
                head = driver.add(buffers, TABLE + number % 128 * 0x80 if indirect else None)
                split = sum(not buffer.write for buffer in buffers)
                ranges = [(buffer.address, buffer.length) for buffer in buffers]
                waiting.append((head, ranges[:split], ranges[split:]))
                number += 1
            case "take":
                taken = device.take()
                assert taken == (waiting[0] if waiting else None)
                if taken:
                    held.append(waiting.pop(0)[0])
            case "put" if held:
                head = held.pop(data.draw(st.integers(0, len(held) - 1)))
                lib.virtqueue_put(device.queue, head, number)
                assert driver.done() == [(head, number)]
    assert device.queue.fault == lib.VIRTQUEUE_SOUND
    memory.close()


@pytest.mark.parametrize(
    ("size", "areas", "fault"),
    [
        (0, None, "BAD_SIZE"),
        (3, None, "BAD_SIZE"),
        (2048, None, "BAD_SIZE"),
        (0x10000, None, "BAD_SIZE"),  # 16 bits of it are 0
        (0x10004, None, "BAD_SIZE"),
        (4, (8, 0x1000, 0x2000), "MISALIGNED"),
        (4, (0, 0x1001, 0x2000), "MISALIGNED"),
        (4, (0, 0x1000, 0x2002), "MISALIGNED"),
        (4, (HOLE - 48, 0x1000, 0x2000), "NO_RAM"),
        (4, (0, HOLE - 14 + 2, 0x2000), "NO_RAM"),
        (4, (0, 0x1000, HOLE - 36), "NO_RAM"),
        (4, (0, 0x1000, ROM), "NO_RAM"),  # the device writes it
        (4, ((1 << 64) - 16, 0x1000, 0x2000), "NO_RAM"),
        (4, (0, (1 << 64) - 2, 0x2000), "NO_RAM"),
        (4, (0, 0x1000, (1 << 64) - 4), "NO_RAM"),
    ],
)
def test_a_queue_that_is_no_queue_does_not_start(memory, size, areas, fault):
    device = DeviceQueue(memory, DriverQueue(memory, 4), size=size, areas=areas)
    assert device.fault == device.queue.fault == getattr(lib, f"VIRTQUEUE_{fault}")
    assert (device.queue.size, device.take()) == (0, None)
    lib.virtqueue_put(device.queue, 0, 0)
    assert not lib.virtqueue_wait(device.queue)
    assert not lib.virtqueue_interrupts(device.queue)


@pytest.mark.parametrize(
    ("size", "areas"),
    [
        (1, (0, 0x1000, 0x2000)),
        (1024, (0, 0x4000, 0x5000)),
        (4, (HOLE - 64, HOLE - 64 - 14, HOLE - 64 - 16 - 40)),  # each ends where the next begins, the last at the end
        (4, (ROM, ROM + PAGE - 14, 0x2000)),  # the device only reads these
    ],
)
def test_a_queue_starts_wherever_ram_has_room_for_it(memory, size, areas):
    assert DeviceQueue(memory, DriverQueue(memory, 4), size=size, areas=areas).fault == lib.VIRTQUEUE_SOUND


def only(address=DATA, length=4, flags=0, following=0):
    """A driver that offers one descriptor."""

    def offer(driver):
        driver.describe(0, address, length, flags, following)
        driver.offer(0)

    return offer


def head(number):
    return lambda driver: driver.offer(number)


def ahead(driver):
    driver.index = driver.size
    driver.offer(0)


def chained(*descriptors):
    """A driver that offers descriptors as they are, from 0 on."""

    def offer(driver):
        for index, fields in enumerate(descriptors):
            driver.describe(index, *fields)
        driver.offer(0)

    return offer


def table(*descriptors, flags=INDIRECT, following=0, length=None, at=TABLE, before=()):
    """A driver that offers an indirect table, after descriptors ``before``."""

    def offer(driver):
        if at == TABLE:
            driver.memory.write(at, b"".join(packed(*fields) for fields in descriptors))
        for index, fields in enumerate(before):
            driver.describe(index, *fields)
        driver.describe(len(before), at, 16 * len(descriptors) if length is None else length, flags, following)
        driver.offer(0)

    return offer


BROKEN = {
    "a head beyond the queue": (head(4), "BAD_HEAD"),
    "the largest head": (head(0xFFFF), "BAD_HEAD"),
    "more chains than the queue is long": (ahead, "AHEAD"),
    "a next beyond the queue": (only(flags=NEXT, following=4), "BAD_NEXT"),
    "a chain that loops to itself": (only(flags=NEXT), "TOO_LONG"),
    "a chain that loops": (chained((DATA, 4, NEXT, 1), (DATA, 4, NEXT, 2), (DATA, 4, NEXT, 0)), "TOO_LONG"),
    "no bytes": (only(length=0), "EMPTY"),
    "a buffer in the hole": (only(HOLE), "NO_BUFFER"),
    "a buffer that ends in the hole": (only(HOLE - 3), "NO_BUFFER"),
    "a buffer that spans the hole": (only(HOLE - 4, HIGH - HOLE + 8), "NO_BUFFER"),
    "a buffer beyond RAM": (only(TOP), "NO_BUFFER"),
    "address and length wrap": (only((1 << 64) - 2, 4), "NO_BUFFER"),
    "all bytes that there can be": (only(0, (1 << 32) - 1), "NO_BUFFER"),
    "a read-only buffer to be written": (only(ROM, flags=WRITE), "NO_BUFFER"),
    "read after written": (chained((DATA, 4, NEXT | WRITE, 1), (DATA, 4)), "ORDER"),
    "a table in a table": (table((TABLE, 16, INDIRECT)), "NESTED"),
    "the queue's own table as a table": (only(0x1000, 16, INDIRECT), "NESTED"),
    "a table with a next descriptor": (table((DATA, 4), flags=INDIRECT | NEXT, following=1), "NOT_LAST"),
    "a table of no bytes": (table(length=0), "BAD_TABLE"),
    "a table of half a descriptor": (table((DATA, 4), length=8), "BAD_TABLE"),
    "a table of one and a half": (table((DATA, 4), length=24), "BAD_TABLE"),
    "a table in the hole": (table((DATA, 4), at=HOLE), "BAD_TABLE"),
    "a table that ends in the hole": (table((DATA, 4), at=HOLE - 16, length=32), "BAD_TABLE"),
    "a next beyond the table": (table((DATA, 4, NEXT, 1)), "BAD_NEXT"),
    "a table that loops": (table((DATA, 4, NEXT, 1), (DATA, 4, NEXT, 0)), "TOO_LONG"),
    "a table that loops after a descriptor": (table((DATA, 4, NEXT, 0), before=[(DATA, 4, NEXT, 1)]), "TOO_LONG"),
    "a table that is in the hole after a descriptor": (table((HOLE, 4), before=[(DATA, 4, NEXT, 1)]), "NO_BUFFER"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_chain_stops_its_queue_until_it_is_started_again(memory, case):
    offer, fault = BROKEN[case]
    driver = DriverQueue(memory, 4)
    device = DeviceQueue(memory, driver)
    offer(driver)
    assert device.take() is None
    assert device.queue.fault == getattr(lib, f"VIRTQUEUE_{fault}")
    driver.index = 0
    driver.add([Buffer(DATA, 1)])
    assert device.take() is None  # a sound chain does not mend it
    assert not lib.virtqueue_wait(device.queue)
    assert driver.done() == []
    driver = DriverQueue(memory, 4)
    device = DeviceQueue(memory, driver)
    memory.write(driver.available + 2, bytes(2))
    driver.add([Buffer(DATA, 1)])
    assert device.take() == (0, [(DATA, 1)], [])


def test_a_descriptor_is_read_once(memory):
    """Another thread turns its buffer into one that is none, and back: the device gets the one or a fault."""
    driver = DriverQueue(memory, 4)
    good, bad = (packed(address, 4, flags) for address, flags in ((DATA, 0), (HOLE, WRITE)))
    done = threading.Event()

    def turn():
        while not done.is_set():
            memory.write(driver.descriptors, bad)
            memory.write(driver.descriptors, good)

    thread = threading.Thread(target=turn)
    thread.start()
    try:
        for _ in range(2000):
            memory.write(driver.available + 2, bytes(2))
            driver.index = 0
            device = DeviceQueue(memory, driver)
            driver.offer(0)
            chain = device.take()
            fault = lib.VIRTQUEUE_SOUND if chain else lib.VIRTQUEUE_NO_BUFFER
            assert chain in (None, (0, [(DATA, 4)], []), (0, [], [(DATA, 4)]))  # a descriptor is written by parts
            assert device.queue.fault == fault
    finally:
        done.set()
        thread.join()


def test_a_table_that_was_not_negotiated(memory):
    driver = DriverQueue(memory, 4)
    device = DeviceQueue(memory, driver, features=0)
    table((DATA, 4))(driver)
    assert (device.take(), device.queue.fault) == (None, lib.VIRTQUEUE_NOT_OFFERED)


@pytest.mark.parametrize(
    ("offer", "expected"),
    [
        (table((DATA, 4), flags=INDIRECT | WRITE), ([(DATA, 4)], [])),  # WRITE says nothing there
        (table((DATA, 4, WRITE), before=[(DATA, 8, NEXT, 1)]), ([(DATA, 8)], [(DATA, 4)])),
        (
            table(*[(DATA, 4, NEXT, n + 1) for n in range(99)], (DATA, 4)),
            ([(DATA, 4)] * 100, []),
        ),  # longer than the queue
        (only(ROM, PAGE), ([(ROM, PAGE)], [])),
        (only(0, HOLE), ([(0, HOLE)], [])),
        (only(HIGH, TOP - HIGH, WRITE), ([], [(HIGH, TOP - HIGH)])),
    ],
)
def test_what_is_unusual_and_right(memory, offer, expected):
    driver = DriverQueue(memory, 4)
    device = DeviceQueue(memory, driver)
    offer(driver)
    assert device.take() == (0, *expected)


@pytest.mark.parametrize(("count", "fault"), [(511, "SOUND"), (512, "TOO_LARGE")])
def test_a_chain_has_less_than_four_gib(count, fault):
    memory = GuestMemory((Slot(0, 0, 8 << 20, 0),))
    driver = DriverQueue(memory, 1024)
    device = DeviceQueue(memory, driver)
    for number in range(count):  # the same 8 MiB each time
        driver.describe(number, 0, 8 << 20, NEXT if number < count - 1 else 0, number + 1)
    driver.offer(0)
    assert (device.take() is None, device.queue.fault) == (fault != "SOUND", getattr(lib, f"VIRTQUEUE_{fault}"))
    memory.close()


def test_a_chain_is_no_longer_than_1024(memory):
    driver = DriverQueue(memory, 4)
    device = DeviceQueue(memory, driver)
    memory.write(DATA, b"".join(packed(0, 1, NEXT, n + 1) for n in range(1024)) + packed(0, 1))
    driver.describe(0, DATA, 16 * 1025, INDIRECT)
    driver.offer(0)
    assert (device.take(), device.queue.fault) == (None, lib.VIRTQUEUE_TOO_LONG)


@given(st.data())
def test_no_ring_makes_the_device_leave_ram_or_run_for_ever(data):
    """Descriptors and indices of any kind, mostly near the right ones."""
    memory = GuestMemory(SLOTS)
    address = st.sampled_from(
        (0, DATA, TABLE, TABLE + 16, HOLE - 16, HOLE, HIGH, TOP - 4, (1 << 64) - 1)
    ) | st.integers(0, (1 << 64) - 1)
    entry = st.tuples(
        address,
        st.sampled_from((0, 1, 16, 32, 48, HOLE, (1 << 32) - 1)) | st.integers(0, (1 << 32) - 1),
        st.integers(0, 7) | st.integers(0, 0xFFFF),
        st.integers(0, 4) | st.integers(0, 0xFFFF),
    )
    driver = DriverQueue(memory, 4)
    device = DeviceQueue(memory, driver, features=data.draw(st.sampled_from((0, INDIRECT_DESC | EVENT_IDX))))
    for index in range(4):
        driver.describe(index, *data.draw(entry))
    memory.write(TABLE, b"".join(packed(*data.draw(entry)) for _ in range(3)))
    for _ in range(data.draw(st.integers(1, 6))):
        driver.offer(data.draw(st.integers(0, 3) | st.integers(0, 0xFFFF)))
    taken = 0
    while (chain := device.take()) is not None:
        for start, length in chain[1] + chain[2]:
            assert any(slot.start <= start and start + length <= slot.start + slot.size for slot in SLOTS)
        taken += 1
    assert taken <= 4
    assert device.queue.fault or taken == driver.index
    memory.close()


@given(st.sampled_from((0, 5, 0xFFF8, 0xFFFF)), st.lists(st.tuples(st.integers(1, 4), st.integers(-6, 6)), max_size=20))
def test_the_driver_gets_the_interrupts_that_it_asks_for(start, rounds):
    """With event indices: one if the used index passed the event since the last look, however the indices wrap."""
    memory = GuestMemory(SLOTS)
    driver = DriverQueue(memory, 8)
    device = DeviceQueue(memory, driver, features=EVENT_IDX)
    device.queue.put = device.queue.taken = device.queue.signalled = start
    for puts, event in rounds:
        before = device.queue.put
        driver.interrupt_after(before + event)
        for _ in range(puts):
            lib.virtqueue_put(device.queue, 0, 0)
        assert lib.virtqueue_interrupts(device.queue) == (0 <= event < puts)
        assert not lib.virtqueue_interrupts(device.queue)  # nothing new
    memory.close()


def test_an_interrupt_is_not_lost_after_65536_chains(memory):
    driver = DriverQueue(memory, 8)
    device = DeviceQueue(memory, driver, features=EVENT_IDX)
    driver.interrupt_after(100)
    for _ in range(0x10000):
        lib.virtqueue_put(device.queue, 0, 0)
    assert lib.virtqueue_interrupts(device.queue)
    assert not lib.virtqueue_interrupts(device.queue)


def test_without_event_indices_a_flag_holds_interrupts_back(memory):
    driver = DriverQueue(memory, 8)
    device = DeviceQueue(memory, driver)
    for flags in (0, NO_INTERRUPT, 0):
        driver.flags(flags)
        lib.virtqueue_put(device.queue, 0, 0)
        assert lib.virtqueue_interrupts(device.queue) == (flags == 0)


@pytest.mark.parametrize("features", [0, EVENT_IDX])
def test_the_device_asks_for_notifications_only_while_it_waits(memory, features):
    driver = DriverQueue(memory, 8)
    device = DeviceQueue(memory, driver, features=features)
    lib.virtqueue_busy(device.queue)
    assert driver.asked()[0] == (0 if features else 1)
    driver.add([Buffer(DATA, 1)])
    assert lib.virtqueue_wait(device.queue)  # it came before the device waited
    device.take()
    assert not lib.virtqueue_wait(device.queue)
    assert driver.asked() == (0, 1 if features else 0)
    driver.add([Buffer(DATA, 1)])
    assert lib.virtqueue_wait(device.queue)


def test_a_stopped_queue_is_left_alone(memory):
    driver = DriverQueue(memory, 8)
    device = DeviceQueue(memory, driver)
    driver.add([Buffer(DATA, 1)])
    lib.virtqueue_stop(device.queue)
    before = memory.read(0, HOLE)
    lib.virtqueue_put(device.queue, 0, 1)
    lib.virtqueue_busy(device.queue)
    assert not lib.virtqueue_wait(device.queue)
    assert not lib.virtqueue_interrupts(device.queue)
    assert device.take() is None
    assert memory.read(0, HOLE) == before
