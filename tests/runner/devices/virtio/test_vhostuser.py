"""A device whose queues another process serves: set-up, requests, interrupts, resets, pauses, and back ends that die,
say nothing or lie."""

import contextlib
import gc
import socket
import struct
import time
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.backends.errors import BackendError
from runner.backends.vhost import connection
from runner.backends.vhost.backend import BackEnd
from runner.backends.vhost.channel import Channel
from runner.backends.vhost.connection import PeerError
from runner.backends.vhost.session import Session
from runner.devices.device import LostError
from runner.devices.virtio.vhostuser import FS, VhostUser
from runner.memory import GuestMemory
from tests.fakes.vhostbackend import BACKEND_REQ, CONFIG, ECHO, EVERYTHING, PROTOCOL_FEATURES, FakeBackEnd
from tests.fakes.virtqueuefake import EVENT_IDX, VERSION_1
from tests.runner.devices.virtio.test_datapath import ROOM, answered, send, until
from vmspec.plan.calls import Slot
from vmspec.plan.settings import PlannedMemory
from vmspec.registers import vhostuser as V
from vmspec.registers import virtio as R

TRANSPORTS = ("mmio", "pci", "pci-inta")
SIZE = 13  # of the fake's configuration


@pytest.fixture(params=TRANSPORTS)
def transport(request):
    return request.param


@pytest.fixture
def memory():
    """In two regions, with a hole."""
    memory = GuestMemory((Slot(0, 0, 1 << 20, 0), Slot(1, 4 << 20, 1 << 20, 1 << 20)), PlannedMemory("memfd"))
    yield memory
    memory.close()


class Fakes:
    """Makes back ends; ``made`` are the fakes, the newest last. ``prepare`` is done to each before it serves."""

    def __init__(self, **keys):
        self.keys, self.made, self.prepare = keys, [], lambda fake: None

    def call(self):
        if self.made and self.keys.get("gone"):
            raise BackendError("socket", "nobody listens at /back-end: start the back end first")
        ours, theirs = socket.socketpair()
        fake = FakeBackEnd(theirs, **{name: value for name, value in self.keys.items() if name != "gone"})
        self.made.append(fake)
        self.prepare(fake)
        fake.start()
        return Session(ours, None)

    @property
    def fake(self):
        return self.made[-1]


@pytest.fixture
def fakes():
    return Fakes()


@pytest.fixture
def open_back_end():
    opened = []

    def make(fakes, queues=2, size=SIZE):
        opened.append(BackEnd(fakes.call, queues, size, "socket"))
        fakes.opened = opened[-1]
        return opened[-1]

    yield make
    for each in opened:
        each.close()


@pytest.fixture
def start(drive, fakes, open_back_end):
    """A driver of a device that a fake serves."""

    def make(ends=True, size=SIZE, queues=2, **keys):
        fakes.keys |= keys
        return drive(VhostUser(open_back_end(fakes, queues, size), R.CONSOLE, (16,) * queues, ends))

    return make


@pytest.fixture
def impatient(monkeypatch):
    for name in ("connection", "session", "backend"):
        for value in ("PATIENCE", "STARTING"):
            monkeypatch.setattr(f"runner.backends.vhost.{name}.{value}", 0.2, raising=False)
    monkeypatch.setattr(connection.Connection.__init__, "__defaults__", (0.2,))


def trouble(driver):
    """Let the device look at what C has told of."""
    until(driver.guest.troubled)
    driver.guest.device.tick()


def test_requests_are_answered_and_the_driver_interrupted(start, fakes):
    driver = start().start(queues=2)
    for queue in (0, 1, 0):
        head = send(driver, b"hello", queue)
        driver.notify(queue)
        assert answered(driver, queue) == [(head, 5)]
        assert driver.memory.read(ROOM, 5) == b"hello"
        until(lambda: driver.guest.edges or driver.guest.troubled())
        driver.guest.device.tick()
        until(driver.acknowledge)
        driver.guest._edges = 0
    assert fakes.fake.accepted == VERSION_1 | R.INDIRECT_DESC | PROTOCOL_FEATURES


def test_what_is_in_the_upper_region_is_reached(start, memory):
    driver = start()
    driver.at = 4 << 20
    driver.start(queues=2)
    head = send(driver, b"above")
    driver.notify(0)
    assert answered(driver) == [(head, 5)]


@pytest.mark.parametrize("protocol", [0, CONFIG, EVERYTHING & ~BACKEND_REQ, EVERYTHING])
def test_whatever_the_back_end_speaks(start, protocol):
    driver = start(size=SIZE if protocol & CONFIG else 0, protocol=protocol).start(queues=2)
    head = send(driver, b"hello")
    driver.notify(0)
    assert answered(driver) == [(head, 5)]


def test_a_back_end_without_features_of_the_protocol(start, fakes):
    """Its queues need not be enabled."""
    fakes.prepare = lambda fake: [setattr(ring, "enabled", True) for ring in fake.rings]
    driver = start(size=0, features=VERSION_1).start(queues=2, features=VERSION_1)
    head = send(driver, b"hello")
    driver.notify(0)
    assert answered(driver) == [(head, 5)]
    assert not {V.GET_PROTOCOL_FEATURES, V.SET_VRING_ENABLE} & {*fakes.fake.asked}


def test_the_driver_is_offered_what_the_back_end_decides_on(start):
    reserved = 0xFFFF << 33 | 7 << 24  # for the transport and the front end
    driver = start(features=VERSION_1 | PROTOCOL_FEATURES | ECHO | 1 << 55 | reserved)
    assert driver.offered() == VERSION_1 | ECHO | 1 << 55


def test_the_configuration_is_the_back_ends(start, fakes):
    driver = start().start()
    read = bytes(driver.read_configuration(at, 1) for at in range(SIZE))
    assert read == b"configuration"
    driver.write_configuration(2, 0x21, 1)
    assert fakes.fake.configuration == b"co!figuration"
    assert driver.read_configuration(2, 1) == 0x21
    fakes.fake.change(b"another thing")
    trouble(driver)
    assert driver.read_configuration(0, 1) == ord("a")
    assert driver.acknowledge() & R.CONFIGURATION


def test_nothing_is_in_flight_after_a_reset(start, fakes):
    """A back end that stops a queue before it has finished is waited for: a hundred times."""
    driver = start()
    for _ in range(100):
        driver.start()
        for at in range(4):
            send(driver, bytes([7] * 64), at=at * 64)
        driver.notify(0)
        driver.write(R.STATUS, 0)
        driver.memory.write(ROOM, bytes([9]) * 256)
        assert all(ring.kick < 0 for ring in fakes.fake.rings)
        assert not fakes.fake.held
        assert driver.memory.read(ROOM, 256) == bytes([9]) * 256
    assert V.RESET_DEVICE in fakes.fake.asked


def test_a_reset_waits_for_what_the_back_end_has_begun(start, fakes):
    driver = start().start()
    fakes.fake.hold = True
    send(driver, b"slow")
    driver.notify(0)
    until(lambda: fakes.fake.held)
    plain = fakes.fake.act

    def act(request, body, descriptors):
        reply = plain(request, body, descriptors)
        if request == V.GET_VRING_BASE:
            fakes.fake.hold = False
            fakes.fake.end.sendall(struct.pack("<III", request, 5, len(reply)) + reply)
            time.sleep(0.05)
            fakes.fake.finish()
            return None
        return reply

    fakes.fake.act = act
    driver.write(R.STATUS, 0)
    assert fakes.fake.served == 1
    assert driver.read(R.STATUS) == 0


def test_a_back_end_that_does_not_finish_is_lost(start, fakes, impatient):
    driver = start().start()
    fakes.fake.hold = True
    send(driver, b"slow")
    driver.notify(0)
    until(lambda: fakes.fake.held)
    with pytest.raises(LostError, match="does not finish 1 requests of queue 0"):
        driver.write(R.STATUS, 0)


def test_a_paused_machine_goes_on(start, fakes):
    driver = start().start()
    path = driver.guest.paths[0]
    for _ in range(3):
        with path.held():
            assert all(ring.kick < 0 for ring in fakes.fake.rings)
            head = send(driver, b"later")
            driver.notify(0)
            assert driver.queues[0].done() == []
        assert answered(driver) == [(head, 5)]


def test_a_saved_device_goes_on_with_another_back_end(start, drive, open_back_end):
    driver = start().start()
    send(driver, b"first")
    driver.notify(0)
    answered(driver)
    path = driver.guest.paths[0]
    path.hold()
    send(driver, b"second")
    state = driver.guest.device.save()
    other = drive(VhostUser(open_back_end(Fakes()), R.CONSOLE, (16, 16)))
    other.guest.device.load(state)
    moved = driver.moved(other.guest, other.memory)
    assert len(answered(moved)) == 1
    path.release()


def test_event_index_is_the_back_ends_business(start):
    driver = start().start(features=VERSION_1 | EVENT_IDX)
    head = send(driver, b"hello")
    driver.notify(0)
    assert answered(driver) == [(head, 5)]


@pytest.mark.parametrize("queue", [2, 63, 64, 0xFFFF])
def test_a_notification_of_no_queue_is_ignored(start, queue):
    driver = start().start()
    driver.notify(queue)
    head = send(driver, b"x")
    driver.notify(0)
    assert answered(driver) == [(head, 1)]


def test_a_bad_queue_stops_the_device_until_a_reset(start, fakes):
    driver = start()
    driver.at = 2 << 20  # no RAM
    with pytest.raises(ValueError, match="not guest RAM"):
        driver.start()
    driver.at = 0x10000
    driver.negotiate()
    driver.set_up(0)
    driver.write(R.QUEUE_SEL, 1)
    driver.write(R.QUEUE_NUM, 16)
    driver.write(R.QUEUE_DESC, 2 << 20)
    driver.write(R.QUEUE_READY, 1)
    assert driver.status(R.DRIVER_OK) & R.NEEDS_RESET
    assert V.SET_VRING_KICK not in fakes.fake.asked
    driver.start()
    head = send(driver, b"again")
    driver.notify(0)
    assert answered(driver) == [(head, 5)]


def test_a_queue_in_memory_that_others_cannot_map_stops_the_device_until_a_reset(start, memory, tmp_path):
    (tmp_path / "image").write_bytes(bytes(1 << 20))
    with (tmp_path / "image").open("r+b") as image:
        memory.add(8 << 20, 1 << 20, image.fileno(), read_only=False)
    driver = start()
    driver.at = 8 << 20
    driver.start()
    trouble(driver)
    assert driver.read(R.STATUS) & R.NEEDS_RESET
    assert driver.guest.notices[-1].endswith("queue 0 lies in memory that other processes cannot map")
    driver.at = 0x10000
    driver.start()
    head = send(driver, b"again")
    driver.notify(0)
    assert answered(driver) == [(head, 5)]


# A back end that dies


def test_one_that_dies_ends_the_run_and_says_so_once(start, fakes):
    driver = start().start()
    fakes.fake.end.shutdown(socket.SHUT_RDWR)
    until(driver.guest.troubled)
    with pytest.raises(LostError, match="has no back end any more: its back end has closed the connection"):
        driver.guest.device.tick()
    driver.guest.device.tick()
    driver.notify(0)
    driver.write(R.STATUS, 0)


def test_one_that_dies_can_be_called_again(start, fakes):
    driver = start(ends=False).start()
    for _ in range(3):
        before = fakes.fake
        fakes.fake.end.shutdown(socket.SHUT_RDWR)
        trouble(driver)
        assert driver.read(R.STATUS) & R.NEEDS_RESET
        assert driver.acknowledge() & R.CONFIGURATION
        driver.start()
        assert fakes.fake is not before
        head = send(driver, b"again")
        driver.notify(0)
        assert answered(driver) == [(head, 5)]
    assert driver.guest.notices == [
        "the guest's driver must reset it: its back end has closed the connection"
    ] * 3  # fmt: skip


def test_one_that_stays_away_breaks_each_start_of_the_device(start, fakes):
    driver = start(ends=False, gone=True).start()
    fakes.fake.end.shutdown(socket.SHUT_RDWR)
    trouble(driver)
    for _ in range(2):
        driver.negotiate()
        assert driver.status(R.DRIVER_OK) & R.NEEDS_RESET
    assert "nobody listens" in driver.guest.notices[-1]


def test_one_that_comes_back_with_fewer_features_breaks_the_device(start, fakes):
    driver = start(ends=False).start()
    fakes.keys["features"] = VERSION_1 | PROTOCOL_FEATURES
    fakes.fake.end.shutdown(socket.SHUT_RDWR)
    trouble(driver)
    driver.negotiate()
    assert driver.status(R.DRIVER_OK) & R.NEEDS_RESET
    assert "lacks the features 0x30000020" in driver.guest.notices[-1]


@pytest.mark.parametrize("request_", [V.SET_FEATURES, V.SET_MEM_TABLE, V.SET_VRING_ADDR, V.SET_VRING_ENABLE])
def test_one_that_dies_while_it_is_set_up(start, fakes, request_):
    fakes.prepare = lambda fake: fake.answers.update({request_: lambda end: end.shutdown(socket.SHUT_RDWR)})
    driver = start().start()
    until(driver.guest.troubled)
    with pytest.raises(LostError, match="has closed the connection"):
        driver.guest.device.tick()


# One that says nothing, or lies


def silent(end):
    """Say nothing."""


ASKED = (V.GET_FEATURES, V.GET_PROTOCOL_FEATURES, V.GET_QUEUE_NUM, V.SET_BACKEND_REQ_FD, V.GET_CONFIG)


@pytest.mark.parametrize("request_", ASKED)
def test_one_that_does_not_answer_is_an_error(fakes, open_back_end, impatient, request_):
    fakes.prepare = lambda fake: fake.answers.update({request_: silent})
    with pytest.raises(BackendError, match=f"does not answer {V.NAMES[request_]}"):
        open_back_end(fakes)


LIES = {
    "another request": (struct.pack("<IIIQ", 99, 5, 8, 0), "with a message 99"),
    "no reply": (struct.pack("<IIIQ", V.GET_FEATURES, 1, 8, 0), "flags 0x1"),
    "another version": (struct.pack("<IIIQ", V.GET_FEATURES, 6, 8, 0), "flags 0x6"),
    "too short": (struct.pack("<III", V.GET_FEATURES, 5, 0), "with 0 bytes"),
    "too long": (struct.pack("<III", V.GET_FEATURES, 5, 1 << 31), "with 2147483648 bytes"),
    "legacy": (struct.pack("<IIIQ", V.GET_FEATURES, 5, 8, 0), "older than virtio 1.0"),
}


@pytest.mark.parametrize("lie", LIES)
def test_one_that_lies_is_an_error(fakes, open_back_end, lie):
    answer, why = LIES[lie]
    fakes.prepare = lambda fake: fake.answers.update({V.GET_FEATURES: answer})
    with pytest.raises(BackendError, match=why):
        open_back_end(fakes)


def test_one_with_too_few_queues_or_no_configuration_is_an_error(open_back_end):
    with pytest.raises(BackendError, match="has 1 queues, not 2"):
        open_back_end(Fakes(queues=1))
    with pytest.raises(BackendError, match="has no configuration space"):
        open_back_end(Fakes(protocol=EVERYTHING & ~CONFIG))


@pytest.mark.parametrize("answer", [bytes(4), bytes(20), struct.pack("<II", 1, 0)])
def test_a_queue_that_it_does_not_stop_properly(start, fakes, answer):
    driver = start().start()
    fakes.fake.answers[V.GET_VRING_BASE] = struct.pack("<III", V.GET_VRING_BASE, 5, len(answer)) + answer
    with pytest.raises(LostError, match="answers GET_VRING_BASE"):
        driver.write(R.STATUS, 0)


def test_one_that_is_lost_as_it_stops_is_called_again(start, fakes):
    driver = start(ends=False).start()
    fakes.fake.answers[V.GET_VRING_BASE] = bytes(12)
    driver.write(R.STATUS, 0)
    driver.start()
    head = send(driver, b"again")
    driver.notify(0)
    assert answered(driver) == [(head, 5)]
    assert len(driver.guest.notices) == 1
    assert driver.guest.notices[0].startswith("lost its back end: its back end answers GET_VRING_BASE with a message 0")


def test_one_that_rejects_a_message(start, fakes):
    refusal = struct.pack("<IIIQ", V.SET_MEM_TABLE, 5, 8, 22)
    fakes.prepare = lambda fake: fake.answers.update({V.SET_MEM_TABLE: refusal})
    driver = start().start()
    until(driver.guest.troubled)
    with pytest.raises(LostError, match="rejects SET_MEM_TABLE with 0x16"):
        driver.guest.device.tick()


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(said=st.binary(max_size=200), request_=st.sampled_from(ASKED))
def test_whatever_it_says_is_taken_or_an_error(said, request_):
    """It closes the connection afterwards, so that nobody waits."""
    fakes = Fakes()

    def say(end):
        end.sendall(said)
        end.shutdown(socket.SHUT_RDWR)

    fakes.prepare = lambda fake: fake.answers.update({request_: say})
    with pytest.raises(BackendError):
        BackEnd(fakes.call, 2, SIZE, "socket")


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(said=st.lists(st.binary(max_size=40), max_size=5))
@pytest.mark.parametrize("transport", ["mmio"])
def test_whatever_it_sends_by_itself_is_survived(start, fakes, said):
    driver = start(ends=False).start()
    for piece in said:
        if not driver.read(R.STATUS) & R.NEEDS_RESET and fakes.fake.channel is not None:
            fakes.fake.channel.sendall(piece)
            fakes.fake.channel.sendall(struct.pack("<III", 77, 1 | 8, 0))
    until(driver.guest.troubled) if any(said) else None
    driver.guest.device.tick()
    driver.start()
    head = send(driver, b"again")
    driver.notify(0)
    assert answered(driver) == [(head, 5)]


HEADER_ONLY = struct.pack("<III", 2, 1 | 8, 0)  # the configuration has changed, and an answer is wanted


def never_reads(channel):
    """It asks until its own buffer is full: nobody reads the answers."""
    channel.theirs.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            channel.theirs.send(HEADER_ONLY)
            channel.changed()


def hangs_up(channel):
    channel.theirs.sendall(HEADER_ONLY)
    channel.theirs.close()
    channel.changed()


def says(data):
    def say(channel):
        channel.theirs.sendall(data)
        channel.changed()

    return say


@pytest.mark.parametrize(
    ("misuse", "why"),
    [
        pytest.param(never_reads, "does not take the answers", id="never reads"),
        pytest.param(hangs_up, "has closed its own connection", id="hangs up"),
        pytest.param(says(bytes(70_000)), "sends more than 65536 bytes at once by itself", id="without end"),
        pytest.param(says(struct.pack("<III", 2, 1, 1 << 20)), "a message 2 of 1048576 bytes", id="too long"),
    ],
)
def test_one_that_misuses_its_own_connection_is_lost(misuse, why):
    channel = Channel()
    with pytest.raises(PeerError, match=why):
        misuse(channel)
    channel.theirs.close()
    channel.close()


def test_a_message_of_its_own_may_come_in_pieces():
    channel = Channel()
    with channel.theirs as theirs:
        theirs.sendall(HEADER_ONLY[:7])
        assert not channel.changed()
        theirs.sendall(HEADER_ONLY[7:])
        assert channel.changed()
        assert not channel.changed()
        assert struct.unpack("<IIIQ", theirs.recv(64)) == (2, 1 | 4, 8, 0)
    channel.close()


def test_a_shared_folder_has_its_own_configuration(drive, open_back_end):
    make = partial(open_back_end, Fakes(protocol=EVERYTHING & ~CONFIG), 2, 0)
    driver = drive(FS(make(), R.FS, (1024, 1024), True, b"files".ljust(36, b"\0") + struct.pack("<I", 1)))
    assert bytes(driver.read_configuration(at, 1) for at in range(40)) == b"files".ljust(36, b"\0") + b"\1\0\0\0"
    driver.start(queues=2)
    driver.write_configuration(0, 1, 1)
    assert driver.read_configuration(0, 1) == ord("f")


def test_one_that_stops_slowly_is_not_asked_without_an_end(start, fakes, impatient):
    """Each of its queues takes less than the time for all."""

    def stop(end):
        time.sleep(0.05)
        end.sendall(struct.pack("<IIIII", V.GET_VRING_BASE, 5, 8, fakes.fake.bodies[V.GET_VRING_BASE][0], 0))

    fakes.keys["queues"] = 16
    start(queues=16).start(queues=16)
    fakes.fake.answers[V.GET_VRING_BASE] = stop
    fakes.opened.close()
    assert 0 < fakes.fake.asked.count(V.GET_VRING_BASE) < 16


def test_closing_leaves_no_descriptor(fakes, open_back_end):
    gc.collect()  # what earlier tests have left
    before = {*Path("/proc/self/fd").iterdir()}
    back_end = open_back_end(fakes)
    back_end.close()
    fakes.fake.thread.join()
    assert {*Path("/proc/self/fd").iterdir()} == before
