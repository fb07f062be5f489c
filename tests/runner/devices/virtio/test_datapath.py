"""A device whose queues C serves in a thread of its own: requests, interrupts, faults, resets, holds."""

import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.devices.services import Native
from runner.devices.virtio.device import VirtioDevice
from runner.native._native import ffi, lib
from tests.fakes.virtqueuefake import EVENT_IDX, INDIRECT_DESC, NO_INTERRUPT, VERSION_1, Buffer, DriverQueue
from vmspec.registers import virtio as R

DATA, ROOM = 0x40000, 0x60000
PATIENCE = 20  # seconds
BARRIER = threading.Lock()  # taking it is a full barrier


class Echo(VirtioDevice):
    """Answers with what it was sent, on each of its queues."""

    number = R.CONSOLE
    queue_sizes = (16, 8)

    def native(self):
        return Native(ffi.addressof(lib, "worker_echo"), ffi.NULL)


@pytest.fixture(params=["mmio", "pci"])
def transport(request):
    return request.param


@pytest.fixture
def echo(drive):
    return drive(Echo())


def until(happens):
    """Wait for what another thread does."""
    late = time.monotonic() + PATIENCE
    while not (seen := happens()):
        assert time.monotonic() < late
        time.sleep(0.0005)
    return seen


def send(driver, data, queue=0, at=0):
    driver.memory.write(DATA + at, data)
    return driver.queues[queue].add([Buffer(DATA + at, len(data)), Buffer(ROOM + at, len(data), write=True)])


def answered(driver, queue=0):
    return until(driver.queues[queue].done)


@pytest.fixture(params=[0, EVENT_IDX], ids=["flags", "event-index"])
def features(request):
    return VERSION_1 | INDIRECT_DESC | request.param


def test_a_request_is_answered_and_the_driver_interrupted(echo, features):
    echo.start(queues=2, features=features)
    for queue in (0, 1):
        head = send(echo, b"hello", queue)
        echo.notify(queue)
        assert answered(echo, queue) == [(head, 5)]
        assert echo.memory.read(ROOM, 5) == b"hello"
        until(lambda: echo.guest.edges)
        assert (echo.acknowledge(), echo.acknowledge()) == (R.USED_BUFFER, 0)
        echo.guest._edges = 0
    assert not echo.guest.hurry  # Python's queue of writes is not used


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(batches=st.lists(st.integers(1, 8), max_size=40), event_index=st.booleans())
def test_no_request_and_no_interrupt_is_lost(echo, batches, event_index):
    """A driver that waits for interrupts alone, and notifies only if it was asked to."""
    echo.start(size=16, features=VERSION_1 | (EVENT_IDX if event_index else 0))
    echo.guest.edges  # noqa: B018 - those of the last example
    echo.guest._edges = 0
    queue = echo.queues[0]
    for size in batches:
        if event_index:
            queue.interrupt_after(queue.seen + size - 1)
        before = queue.index
        sent = [send(echo, bytes([at + 1] * 8), at=16 * at) for at in range(size)]
        with BARRIER:  # as a driver needs between its index and the device's word
            flags, event = queue.asked()
        wanted = (event - before) % 0x10000 < size if event_index else not flags
        if wanted:
            echo.notify(0)
        done = []
        while len(done) < size:
            until(lambda: echo.guest.edges)
            echo.guest._edges = 0
            done += queue.done()
        assert sorted(done) == sorted((head, 8) for head in sent)


def test_a_driver_that_wants_no_interrupts_gets_none(echo):
    echo.start()
    echo.queues[0].flags(NO_INTERRUPT)
    send(echo, b"quiet")
    echo.notify(0)
    answered(echo)
    with echo.guest.paths[0].held():
        assert (echo.guest.edges, echo.acknowledge()) == (0, 0)


@pytest.mark.parametrize("queue", [2, 63, 64, 0xFFFF, 0x10000, 0xFFFFFFFF])
def test_a_notification_of_no_queue_is_ignored(echo, queue):
    echo.start()
    echo.notify(queue)
    send(echo, b"x")
    echo.notify(0)
    answered(echo)


def test_a_fault_stops_the_device_until_a_reset(echo):
    echo.start(queues=2)
    echo.queues[0].offer(99)
    echo.notify(0)
    until(echo.guest.troubled)
    echo.guest.device.tick()
    assert echo.read(R.STATUS) & R.NEEDS_RESET
    assert echo.guest.notices == [
        "the guest's driver must reset it: queue 0: a chain begins with a descriptor beyond the queue"
    ]
    send(echo, b"other queue", queue=1)
    echo.notify(1)
    with echo.guest.paths[0].held():
        assert echo.queues[1].done() == []
    echo.start(queues=2)
    send(echo, b"again")
    echo.notify(0)
    assert len(answered(echo)) == 1


def test_nothing_is_written_after_a_reset(echo):
    """The driver resets while requests are in flight, a hundred times."""
    for _ in range(100):
        echo.start()
        for at in range(4):
            send(echo, bytes([7] * 4096), at=at * 4096)
        echo.notify(0)
        echo.write(R.STATUS, 0)
        used, room = echo.queues[0].used, bytes([9]) * 4096 * 4
        echo.memory.write(ROOM, room)
        rings = echo.memory.read(used, echo.queues[0].end - used)
        echo.guest.paths[0].hold()
        echo.guest.paths[0].release()
        assert echo.memory.read(ROOM, len(room)) == room
        assert echo.memory.read(used, len(rings)) == rings


def test_a_held_path_rests_and_loses_nothing(echo):
    echo.start()
    path = echo.guest.paths[0]
    path.hold()
    path.hold()
    send(echo, b"later")
    echo.notify(0)
    path.release()
    assert echo.queues[0].done() == []
    path.release()
    assert len(answered(echo)) == 1


def test_holds_by_many_threads(echo):
    echo.start()
    path, stop = echo.guest.paths[0], threading.Event()

    def hold():
        while not stop.is_set():
            with path.held():
                pass

    threads = [threading.Thread(target=hold) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(200):
            send(echo, b"x")
            echo.notify(0)
            answered(echo)
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_saved_device_goes_on_elsewhere(echo, drive):
    echo.start()
    send(echo, b"first")
    echo.notify(0)
    answered(echo)
    echo.guest.paths[0].hold()
    send(echo, b"second")
    echo.notify(0)
    state = echo.guest.device.save()
    other = drive(Echo())
    other.guest.device.load(state)
    moved = echo.moved(other.guest, other.memory)
    assert len(answered(moved)) == 1
    echo.guest.paths[0].release()


def test_a_masked_interrupt_is_kept(echo):
    echo.start()
    path = echo.guest.paths[0]
    path.mask(0, True)
    send(echo, b"x")
    echo.notify(0)
    until(lambda: path.pending(0))
    assert echo.guest.edges == 0
    path.mask(0, False)
    assert (echo.guest.edges, path.pending(0)) == (1, False)


def test_the_end_joins_the_thread(echo):
    tasks = Path("/proc/self/task")
    before = len(list(tasks.iterdir()))
    path = echo.guest.paths[0]
    path.end()
    path.end()
    assert len(list(tasks.iterdir())) == before - 1
    path.hold()  # nothing is left to hold
    path.release()


def test_the_end_waits_no_longer_than_it_may(echo):
    """A driver that has asked for gigabytes: what is left once the time is over stays undone."""
    at = size = 0x80000
    echo.start(size=16, features=VERSION_1 | INDIRECT_DESC)
    for _ in range(16):
        echo.queues[0].add([Buffer(at, size)] * 512 + [Buffer(at, size, write=True)] * 512, table=0x40000)
    echo.notify(0)
    echo.guest.paths[0].end(0)
    assert len(echo.queues[0].done()) < 16


def test_the_times_of_a_request(memory):
    """A chain was known when the driver told, or when it was found; it was taken after."""
    queue, chain = ffi.new("struct virtqueue *"), ffi.new("struct virtqueue_chain *")
    driver = DriverQueue(memory, 8)
    lib.virtqueue_start(queue, memory.table, 8, *driver.areas, 0)
    for _ in range(2):
        driver.add([Buffer(DATA, 8)])
    told = lib.tsc_now()
    lib.virtqueue_tell(queue, told)
    lib.virtqueue_tell(queue, told + 1000)
    lib.virtqueue_take(queue, chain)
    driver.add([Buffer(DATA, 8)])
    lib.virtqueue_take(queue, chain)
    assert chain.t_available == told < chain.t_taken
    lib.virtqueue_take(queue, chain)  # this one was found
    assert told < chain.t_available == chain.t_taken
