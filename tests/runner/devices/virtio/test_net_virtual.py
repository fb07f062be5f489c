"""The network device with virtual time: frames that are given to it, and frames that leave it."""

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.backends.relay import Relayed
from runner.devices.virtio.mmio import MMIO
from runner.devices.virtio.net import FRAME, Net
from runner.machine.virtualpath import VirtualPath
from runner.memory import GuestMemory
from runner.native._native import lib
from tests.fakes.virtiodriver import Driver
from tests.fakes.virtqueuefake import EVENT_IDX, INDIRECT_DESC, VERSION_1, Buffer
from tests.runner.devices.conftest import Guest
from vmspec.plan.calls import Slot
from vmspec.registers import virtio as R

RAM = 1 << 20
LATENCY, BANDWIDTH = 1000, 1_000_000_000  # ns, a byte a ns
SENT, ROOM, BUFFER = 0x40000, 0x80000, 0x400
PLAIN = bytes(12)
FEATURES = VERSION_1 | R.NET_MRG_RXBUF | INDIRECT_DESC
LONG = 1 << 40  # ns


class VirtualGuest(Guest):
    """A machine with virtual time."""

    def _data_path(self, native, queues):
        return VirtualPath(native, queues, self.clock, LATENCY, BANDWIDTH)


class Machine:
    """A device, its driver, and what the device has sent."""

    def __init__(self, features=FEATURES, memory=None, wired=True):
        self.memory = memory or GuestMemory((Slot(0, 0, RAM, 0),))
        self.link = Relayed({"tap": None})
        self.ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) if wired else ()
        for end in self.ends:
            end.setblocking(False)
        if wired:
            lib.net_attach(self.link.net, 0, self.ends[0].fileno())
        self.guest = VirtualGuest(MMIO.of(Net)(Net(self.link, "52:54:00:12:34:56"), print), memory=self.memory)
        self.driver = Driver(self.guest, self.memory)
        self.features, self.given = features, 0
        self.buffers = {}  # their addresses by their heads

    def start(self, size=8):
        self.driver.start(2, size, self.features)
        self.given, self.buffers = 0, {}
        return self

    @property
    def end(self):
        return self.guest.device.ends()[0]

    def frame(self, frame):
        """A frame comes, if the device has room; whether it has."""
        room = self.end.room()
        if room:
            self.end.receive(PLAIN + frame)
        return bool(room)

    def room(self, *sizes):
        """Give the device buffers."""
        queue = self.driver.queues[0]
        for size in sizes:
            at = ROOM + BUFFER * (self.given % 256)
            self.buffers[queue.add([Buffer(at, size, write=True)])] = at
            self.given += 1
        self.driver.notify(0)

    def got(self):
        """The bytes in the buffers that came back, one after the other."""
        return [self.memory.read(self.buffers.pop(head), n) for head, n in self.driver.queues[0].done()]

    def send(self, frame, notify=True):
        self.memory.write(SENT, PLAIN + frame)
        self.driver.queues[1].add([Buffer(SENT, 12 + len(frame))])
        if notify:
            self.driver.notify(1)

    def left(self):
        """The next frame that the device has sent."""
        return self.ends[1].recv(1 << 17)

    def close(self):
        self.link.close()
        for end in self.ends:
            end.close()


@pytest.fixture
def machine():
    made = Machine().start()
    yield made
    made.close()
    made.memory.close()


def header(buffers):
    return bytes(10) + struct.pack("<H", buffers)


def test_a_frame_that_comes_is_seen_after_its_time(machine):
    machine.room(200, 200)
    machine.guest.let_pass(LONG)
    assert machine.frame(b"f" * 60)
    assert machine.guest.wait == LATENCY + 60
    machine.guest.let_pass(LATENCY + 59)
    assert (machine.got(), machine.guest.edges) == ([], 0)
    machine.guest.let_pass(1)
    assert (machine.got(), machine.guest.edges) == ([header(1) + b"f" * 60], 1)


def test_a_frame_in_several_buffers_is_seen_at_once(machine):
    machine.room(40, 40, 40)
    machine.guest.let_pass(LONG)
    machine.frame(bytes(range(90)))
    machine.guest.let_pass(LATENCY + 89)
    assert machine.got() == []
    machine.guest.let_pass(1)
    assert b"".join(machine.got()) == header(3) + bytes(range(90))


def test_a_frame_waits_for_buffers_and_none_comes_meanwhile(machine):
    assert machine.frame(b"a" * 60)
    assert not machine.frame(b"b" * 60)
    machine.guest.let_pass(LONG)
    assert machine.end.room() == 0
    machine.room(200, 200)
    assert machine.end.room() == FRAME
    assert machine.frame(b"b" * 60)
    machine.guest.let_pass(LONG)
    assert machine.got() == [header(1) + b"a" * 60, header(1) + b"b" * 60]


def test_what_the_driver_sends_leaves_at_once_and_is_answered_after_its_time(machine):
    machine.send(b"s" * 60)
    assert machine.left() == PLAIN + b"s" * 60
    machine.guest.let_pass(LATENCY + 59)
    assert machine.driver.queues[1].done() == []
    machine.guest.let_pass(1)
    assert len(machine.driver.queues[1].done()) == 1


@pytest.mark.parametrize("busy", [False, True])
def test_a_command_is_answered_at_once(machine, busy):
    """Linux waits for the answer in a loop without exits. Here: receive all frames."""
    machine.features |= R.NET_CTRL_VQ | R.NET_CTRL_RX
    machine.driver.start(3, 8, machine.features)
    machine.given = 0
    machine.room(200)
    machine.guest.let_pass(LONG)
    if busy:
        machine.frame(b"b" * 60)
        machine.send(b"s" * 60)
    machine.memory.write(SENT + 0x100, b"\0\0\1")
    machine.memory.write(SENT + 0x200, b"\xee")
    queue, edges = machine.driver.queues[2], machine.guest.edges
    queue.add([Buffer(SENT + 0x100, 3), Buffer(SENT + 0x200, 1, write=True)])
    machine.driver.notify(2)
    assert [written for _, written in queue.done()] == [1]
    assert machine.memory.read(SENT + 0x200, 1) == b"\0"
    assert (machine.got(), machine.driver.queues[1].done()) == ([], [])
    machine.guest.let_pass(LATENCY + 59 if busy else 0)
    assert machine.guest.edges == edges + (not busy)
    assert (machine.got(), machine.driver.queues[1].done()) == ([], [])
    machine.guest.let_pass(LONG)
    assert machine.guest.edges > edges
    assert machine.got() == [header(1) + b"b" * 60] * busy
    assert len(machine.driver.queues[1].done()) == busy


def test_a_socket_without_room_loses_frames_and_the_driver_does_not_notice(machine):
    machine.ends[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    for _ in range(50):
        machine.send(b"l" * 60)
        machine.guest.let_pass(LATENCY + 60)
        assert len(machine.driver.queues[1].done()) == 1
    counts = machine.link.counts()
    assert counts["refused"] > 0
    assert counts["sent"] + counts["refused"] == 50


def test_without_a_backend_frames_go_nowhere():
    machine = Machine(wired=False).start()
    machine.send(b"n" * 60)
    machine.guest.let_pass(LONG)
    assert len(machine.driver.queues[1].done()) == 1
    assert machine.link.counts()["sent"] == 1
    machine.close()


def test_without_a_driver_nothing_comes(machine):
    machine.driver.write(R.STATUS, 0)
    assert not machine.frame(b"x" * 60)
    machine.end.receive(PLAIN + b"x" * 60)  # as no machine does
    machine.start().room(200)
    machine.guest.let_pass(LONG)
    assert machine.got() == []
    assert machine.link.counts()["crowded"] == 1


def test_a_frame_that_waited_at_a_reset_is_forgotten(machine):
    machine.frame(b"x" * 60)
    machine.driver.write(R.STATUS, 0)
    assert machine.link.counts()["forgotten"] == 1
    machine.start().room(200)
    machine.guest.let_pass(LONG)
    assert machine.got() == []


@pytest.mark.parametrize("frame", [PLAIN[1:], PLAIN, PLAIN + b"x" * 13, b"\1" + PLAIN[1:] + b"x" * 60])
def test_what_is_no_frame_is_dropped_and_the_next_one_comes(machine, frame):
    machine.room(200)
    machine.end.receive(frame)
    machine.guest.let_pass(LONG)
    assert machine.frame(b"y" * 60)
    machine.guest.let_pass(LONG)
    assert machine.got() == [header(1) + b"y" * 60]
    assert machine.link.counts()["unfit"] == 1


def test_the_longest_frame_is_that_of_c():
    assert FRAME == lib.NET_FRAME


@pytest.mark.parametrize("late", [False, True], ids=["waits for buffers", "is not seen yet"])
def test_a_frame_goes_on_in_a_machine_that_is_restored(machine, late):
    if late:
        machine.room(200)
        machine.guest.let_pass(LONG)
    machine.frame(b"r" * 60)
    if late:
        machine.guest.let_pass(LATENCY)
    other = Machine(memory=machine.memory)
    other.guest.clock.now = machine.guest.clock.now
    other.guest.device.load(machine.guest.device.save())
    assert other.guest.device.save() == machine.guest.device.save()
    other.driver, other.buffers = machine.driver.moved(other.guest, other.memory), machine.buffers
    if not late:
        other.room(200)
    other.guest.let_pass(LATENCY + 60)
    assert other.got() == [header(1) + b"r" * 60]
    other.close()


FRAMES = st.tuples(st.just("frame"), st.integers(14, 300) | st.just(3000))
STEPS = st.lists(
    FRAMES
    | st.tuples(st.just("room"), st.lists(st.integers(1, 400), min_size=1, max_size=4))
    | st.tuples(st.just("send"), st.integers(14, 300), st.booleans())
    | st.tuples(st.just("pass"), st.integers(0, 3000)),
    max_size=40,
)


def done(steps, features, size):
    """What a driver sees of some steps and when, the frames that were given, the bytes that it has got, how many frames
    it has sent, counts and memory. At the end there are buffers for all frames."""
    machine, seen, given, got, sent = Machine(features, wired=False).start(size), [], [], b"", 0

    def look(ns):
        nonlocal got
        machine.guest.let_pass(ns)
        got += b"".join(machine.got())
        seen.append((machine.guest.clock.now, len(got), tuple(machine.driver.queues[1].done()), machine.guest.edges))
        if features & EVENT_IDX:
            for queue in machine.driver.queues:
                queue.interrupt_after(queue.seen)

    for step in steps:
        match step:
            case "frame", length:
                frame = bytes((len(given) + at) & 0xFF for at in range(length))
                given += [frame] if machine.frame(frame) else []
            case "room", sizes:
                machine.room(*sizes[: len(machine.driver.queues[0].free)])
            case "send", length, notify:
                if machine.driver.queues[1].free:
                    machine.send(bytes(length), notify)
                    sent += 1
            case "pass", ns:
                look(ns)
        seen.append(machine.end.room())
    for _ in range(8):
        machine.room(*[400] * len(machine.driver.queues[0].free))
        look(LONG)
    machine.driver.notify(1)
    look(LONG)
    counts = machine.link.counts()
    result = seen, given, got, sent, counts, machine.memory.read(0, RAM)
    machine.close()
    machine.memory.close()
    return result


@given(steps=STEPS, event_index=st.booleans(), size=st.sampled_from([4, 8, 16]))
def test_each_frame_is_got_once_and_at_the_same_time_in_each_run(steps, event_index, size):
    """Frames that come when the device has room are got in their order, but those that all buffers which a queue can
    have are too small for."""
    features = FEATURES | (EVENT_IDX if event_index else 0)
    first = done(steps, features, size)
    assert done(steps, features, size) == first
    given, got, sent, counts = first[1:5]
    dropped = []
    for frame in given:
        if got[12 : 12 + len(frame)] == frame:
            got = got[12 + len(frame) :]
        else:
            dropped.append(frame)
    assert got == b""
    assert {name: count for name, count in counts.items() if count} == {
        name: count for name, count in (("received", len(given)), ("unfit", len(dropped)), ("sent", sent)) if count
    }


@given(
    steps=st.lists(
        st.tuples(st.integers(0, 0x5FFF), st.binary(min_size=1, max_size=16))
        | st.integers(0, 2)
        | st.binary(max_size=80),
        max_size=60,
    )
)
def test_a_hostile_driver_harms_only_its_guest_and_the_same_in_each_run(steps):
    """It writes anything to its rings, and notifies any queue, while frames come."""

    def run():
        machine = Machine().start()
        machine.room(200, 200)
        for step in steps:
            match step:
                case int():
                    machine.driver.notify(step)
                case address, data:
                    machine.memory.write(0x10000 + address, data)
                case frame:
                    machine.frame(frame)
                    machine.guest.let_pass(LATENCY)
        machine.guest.let_pass(LONG)
        result = machine.memory.read(0, RAM), machine.guest.edges, machine.link.counts(), machine.driver.read(R.STATUS)
        machine.start().room(200)  # a reset heals it
        machine.frame(b"h" * 60)
        machine.guest.let_pass(LONG)
        assert machine.got() == [header(1) + b"h" * 60]
        machine.close()
        machine.memory.close()
        return result

    assert run() == run()
