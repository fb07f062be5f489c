"""The data path of a device with virtual time: when the driver sees what is done, and what waits."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.devices.services import Native
from runner.machine.virtqueue import Queue
from runner.machine.virtualpath import VirtualPath
from runner.memory import GuestMemory
from runner.native._native import ffi, lib
from runner.recording.requests import Requests
from tests.fakes.virtqueuefake import EVENT_IDX, VERSION_1, Buffer, DriverQueue
from vmspec.plan.calls import Slot

DATA, ROOM = 0x40000, 0x60000
LATENCY, BANDWIDTH = 100, 1_000_000_000  # ns, a byte a ns
SLOTS = (Slot(0, 0, 1 << 20, 0),)
ECHOED = 2 * 8  # bytes of a request: eight sent, eight back


class Machine:
    """A path with two queues, their driver's side, and the time."""

    def __init__(self, memory, latency=LATENCY, bandwidth=BANDWIDTH, features=VERSION_1):
        self.now, self.memory, self.features = 0, memory, features
        self.queues = [Queue(memory, Requests(), 0, number, "other") for number in range(2)]
        self.drivers = [DriverQueue(memory, 8, 0x1000 + 0x4000 * number) for number in range(2)]
        for queue, driver in zip(self.queues, self.drivers, strict=True):
            assert queue.start(8, *driver.areas, features) is None
        native = Native(ffi.addressof(lib, "worker_echo"), ffi.NULL)
        clock = SimpleNamespace(monotonic=lambda: self.now)
        self.path = VirtualPath(native, self.queues, clock, latency, bandwidth)

    def send(self, queue=0, notify=True):
        head = self.drivers[queue].add([Buffer(DATA, 8), Buffer(ROOM, 8, write=True)])
        if notify:
            self.path.ring(queue)
        return head

    def tick(self):
        """What the device does when the path wants it to: the queues whose drivers are interrupted."""
        assert self.path.due is not None
        self.now = max(self.now, self.path.due)
        return [queue for queue in self.path.completed() if self.queues[queue].interrupts()]


@pytest.fixture
def machine():
    return Machine(GuestMemory(SLOTS))


def test_what_is_done_is_seen_after_latency_and_transfer(machine):
    machine.memory.write(DATA, b"answered")
    head = machine.send()
    assert machine.path.due == LATENCY + ECHOED
    assert machine.memory.read(ROOM, 8) == b"answered"
    machine.now = machine.path.due - 1
    assert (machine.path.completed(), machine.drivers[0].done()) == ((), [])
    assert machine.tick() == [0]
    assert machine.drivers[0].done() == [(head, 8)]
    assert machine.path.due is None


def test_a_notification_that_comes_meanwhile_waits(machine):
    machine.send()
    machine.now = 10
    machine.send(queue=1)
    assert machine.path.due == LATENCY + ECHOED
    assert machine.tick() == [0]
    assert machine.drivers[1].done() == []
    assert machine.path.due == machine.now  # in a tick of its own, it is served
    assert machine.tick() == []
    assert machine.path.due == machine.now + LATENCY + ECHOED
    assert machine.tick() == [1]
    assert [len(driver.done()) for driver in machine.drivers] == [1, 1]


def test_a_notification_without_a_chain_takes_no_time(machine):
    machine.path.ring(1)
    assert machine.path.due == 0
    machine.send()
    assert machine.tick() == []
    machine.tick()
    assert machine.path.due == LATENCY + ECHOED


def test_chains_that_were_made_available_together_are_done_together(machine):
    for _ in range(3):
        machine.send(notify=False)
    machine.path.ring(0)
    assert machine.path.due == LATENCY + 3 * ECHOED
    machine.tick()
    assert len(machine.drivers[0].done()) == 3


def test_without_a_bandwidth_bytes_take_no_time():
    machine = Machine(GuestMemory(SLOTS), bandwidth=0)
    machine.send()
    assert machine.path.due == LATENCY


def test_a_queue_that_is_stopped_meanwhile_is_left_alone(machine):
    machine.send()
    machine.queues[0].stop()
    assert machine.tick() == []
    assert machine.path.due is None


def test_a_fault_of_the_driver_stops_its_queue_alone(machine):
    machine.drivers[0].offer(77)  # no such descriptor
    machine.path.ring(0)
    machine.tick()
    assert machine.queues[0].fault is not None
    machine.send(queue=1)
    assert machine.tick() == [1]


def test_what_was_not_seen_yet_is_seen_by_the_driver_of_a_saved_queue(machine):
    """It is put back already, so a queue that is resumed elsewhere has nothing left to serve."""
    head = machine.send()
    taken, put = machine.queues[0].progress()
    assert (taken, put) == (1, 1)
    other = Machine(machine.memory)
    other.drivers = machine.drivers
    other.queues[0].resume(taken, put)
    other.path.ring(0)
    assert other.tick() == [0]
    assert other.drivers[0].done() == [(head, 8)]


@given(
    sent=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 300), st.booleans()), max_size=40),
    event_index=st.booleans(),
)
def test_each_request_is_seen_once_at_the_same_time_in_each_run(sent, event_index):
    """Whatever a driver sends and when: two runs agree, no request is lost, and no interrupt."""

    def run():
        machine = Machine(GuestMemory(SLOTS), features=VERSION_1 | (EVENT_IDX if event_index else 0))
        seen = []

        def ticks(until):
            while machine.path.due is not None and machine.path.due <= until:
                for queue in machine.tick():
                    if event_index:
                        machine.drivers[queue].interrupt_after(machine.queues[queue].progress()[1])
                    seen.append((machine.now, queue, tuple(machine.drivers[queue].done())))

        for queue, wait, notify in sent:
            until = machine.now + wait
            ticks(until)
            machine.now = max(machine.now, until)
            if len(machine.drivers[queue].free) >= 2:
                machine.send(queue, notify)
        for queue in range(2):
            machine.path.ring(queue)
        ticks(1 << 60)
        assert [len(driver.chains) for driver in machine.drivers] == [0, 0]
        return seen

    assert run() == run()
