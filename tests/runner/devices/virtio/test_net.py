"""The network device over a socket that is like a tap: frames both ways, offloads, faults, resets."""

import socket
import struct
from itertools import pairwise
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.devices.device import Board
from runner.devices.virtio.net import Net
from runner.native._native import ffi, lib
from tests.fakes.netfakes import HEADER, Wire
from tests.fakes.virtqueuefake import EVENT_IDX, INDIRECT_DESC, VERSION_1, Buffer
from tests.runner.devices.virtio.test_datapath import until
from vmspec.registers import virtio as R
from vmspec.trace.frames import COUNTS

MAC = "52:54:00:12:34:56"
SENT, TABLE, ROOM = 0x40000, 0x78000, 0x80000  # in the guest's memory
BASE = VERSION_1 | INDIRECT_DESC | R.NET_MAC | R.NET_STATUS | R.NET_MRG_RXBUF | R.NET_CTRL_VQ
ALL = BASE | Wire.features | R.NET_CTRL_RX | EVENT_IDX
PLAIN = bytes(12)
QUICK = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


class Pair:
    """A driver of the device, and what it is connected to."""

    def __init__(self, drive, queues=1, mtu=None):
        self.wire = Wire(queues)
        self.driver = drive(Net(self.wire, MAC, mtu, queues))
        self.memory, self.guest = self.driver.memory, self.driver.guest
        self.at = ROOM

    def start(self, features=ALL, queues=3, size=16):
        self.driver.start(queues, size, features)
        return self

    @property
    def counts(self):
        with self.guest.paths[0].held():
            return self.wire.counts()

    def send(self, frame, cuts=(), header=PLAIN, pair=0, table=TABLE):
        """Send a frame in pieces that are cut at these places."""
        data = header + frame
        self.memory.write(SENT, data)
        edges = sorted({0, len(data), *(cut for cut in cuts if 0 < cut < len(data))})
        pieces = [Buffer(SENT + a, b - a) for a, b in pairwise(edges)]
        self.driver.queues[2 * pair + 1].add(pieces, table)
        self.driver.notify(2 * pair + 1)

    def sent(self, pair=0):
        return until(self.driver.queues[2 * pair + 1].done)

    def room(self, *sizes, pair=0):
        """Give the device buffers of these sizes."""
        queue = self.driver.queues[2 * pair]
        places = []
        for size in sizes:
            queue.add([Buffer(self.at, size, write=True)])
            places.append((self.at, size))
            self.at += size
        self.driver.notify(2 * pair)
        return places

    def got(self, places, pair=0):
        """The next frame, with its header, from the buffers at these places, in the order in which they were given."""
        done = until(self.driver.queues[2 * pair].done)
        return b"".join(self.memory.read(at, n) for (at, _), (_, n) in zip(places, done, strict=False)), len(done)

    def command(self, kind, command, data=b"", queue=2):
        """Give the control queue a command; returns its answer."""
        self.memory.write(SENT, bytes([kind, command]) + data)
        self.memory.write(ROOM - 16, b"\xee")
        self.driver.queues[queue].add([Buffer(SENT, 2 + len(data)), Buffer(ROOM - 16, 1, write=True)])
        self.driver.notify(queue)
        until(self.driver.queues[queue].done)
        return self.memory.read(ROOM - 16, 1)[0]


@pytest.fixture
def connect(drive):
    """Make devices, each with a driver and another side."""
    made = []

    def make(**options):
        made.append(Pair(drive, **options))
        return made[-1]

    yield make
    for each in made:
        each.guest.paths[0].end()
        each.wire.close()


@pytest.fixture
def pair(connect):
    return connect()


@pytest.fixture
def four(connect):
    return connect(queues=4)


def test_what_is_offered(connect, pair, four):
    assert pair.driver.offered() == ALL
    assert four.driver.offered() == connect(queues=2).driver.offered() == ALL | R.NET_MQ
    assert connect(mtu=1400).driver.offered() == ALL | R.NET_MTU


def test_what_a_device_offers_that_is_told_nothing():
    made = Net(SimpleNamespace(features=0, up=False), MAC)
    assert made.features == R.NET_MAC | R.NET_STATUS | R.NET_MRG_RXBUF | R.NET_CTRL_VQ | R.NET_CTRL_RX
    assert made.queue_kinds == ("receive", "transmit", "control")


def test_the_configuration(connect):
    made = connect(queues=4, mtu=1400)
    data = b"".join(made.driver.guest.read(R.CONFIG + at, 1).to_bytes(1, "little") for at in range(14))
    assert struct.unpack("<6sHHHH", data) == (bytes.fromhex(MAC.replace(":", "")), R.NET_LINK_UP, 4, 1400, 0)


@pytest.mark.parametrize("mtu", [1400, None])
def test_what_its_table_of_the_spec_says(tmp_path, mtu):
    wire = Wire(2)
    made = Net.make({"mac": MAC, "mtu": mtu, "queues": 2}, Board(tmp_path, (), backend=lambda: wire))
    mac = bytes.fromhex(MAC.replace(":", ""))
    assert made.configuration() == struct.pack("<6sHHH", mac, R.NET_LINK_UP, 2, mtu or 0)
    assert made.native() is wire.native
    wire.close()


def test_there_are_two_queues_for_each_pair_and_one_for_commands(connect):
    driver = connect(queues=2).driver
    sizes = []
    for index in range(6):
        driver.write(R.QUEUE_SEL, index)
        sizes.append(driver.read(R.QUEUE_NUM_MAX))
    assert sizes == [256] * 4 + [64, 0]


def test_the_driver_is_told_once_when_the_link_changes(pair):
    pair.start()
    shown = []
    for up in (1, 0, 0, 1):
        pair.wire.net.up = up
        pair.guest.device.tick()
        generation = pair.driver.read(R.CONFIG_GENERATION)
        shown.append((pair.driver.read_configuration(6, 2), generation, pair.driver.acknowledge() & R.CONFIGURATION))
    assert shown == [(R.NET_LINK_UP, 0, 0), (0, 1, R.CONFIGURATION), (0, 1, 0), (R.NET_LINK_UP, 2, R.CONFIGURATION)]


def test_a_frame_each_way(pair):
    pair.start()
    frame = bytes(range(60))
    pair.send(frame)
    assert pair.wire.far[0].recv(4096) == PLAIN + frame
    pair.sent()
    places = pair.room(2048)
    pair.wire.far[0].send(PLAIN + frame)
    data, n = pair.got(places)
    assert (HEADER.unpack(data[:12]), data[12:], n) == ((0, 0, 0, 0, 0, 0, 1), frame, 1)
    assert pair.counts == {**dict.fromkeys(COUNTS, 0), "received": 1, "sent": 1}


@QUICK
@given(
    frame=st.binary(min_size=14, max_size=200) | st.integers(14, 69632).map(lambda n: (b"0123456789abcdef" * 4352)[:n]),
    cuts=st.lists(st.integers(1, 600) | st.integers(1, 69632), max_size=20),
)
def test_frames_may_be_scattered_in_any_way(pair, frame, cuts):
    if not pair.driver.queues:
        pair.start()
    pair.send(frame, cuts)
    assert pair.wire.far[0].recv(1 << 17) == PLAIN + frame
    pair.sent()


@QUICK
@given(
    size=st.integers(14, 3000) | st.integers(14, 69632),
    room=st.lists(st.integers(1, 300) | st.integers(300, 20000), min_size=1, max_size=15),
    late=st.integers(0, 15),
    event_index=st.booleans(),
)
def test_frames_are_merged_from_buffers_of_any_size(pair, size, room, late, event_index):
    """``late`` buffers come after the frame. What does not fit into all buffers that a queue can have is dropped."""
    pair.start(ALL if event_index else ALL & ~EVENT_IDX)
    pair.at = ROOM
    frame = (b"0123456789abcdef" * 4352)[:size]
    early = pair.room(*room[late:])
    before = pair.counts
    pair.wire.far[0].send(PLAIN + frame)
    places = early + pair.room(*room[:late])
    total = sum(size for _, size in places)
    if total < 12 + size:
        with pair.guest.paths[0].held():
            assert pair.driver.queues[0].done() == []
        rest = pair.room(12 + size - total)
        places += rest
    data, n = pair.got(places)
    assert data[12:] == frame
    assert HEADER.unpack(data[:12])[-1] == n
    assert pair.counts["received"] == before["received"] + 1
    pair.driver.write(R.STATUS, 0)


def test_a_frame_that_no_buffers_can_hold_is_dropped(pair):
    pair.start(size=4)
    pair.room(64, 64, 64, 64)
    pair.wire.far[0].send(PLAIN + bytes(1000))
    pair.wire.far[0].send(PLAIN + bytes(20))
    assert until(pair.driver.queues[0].done) == [(0, 32)]
    assert pair.counts["unfit"] == 1


def test_a_buffer_that_is_too_small_is_given_back_without_merged_ones(pair):
    pair.start(ALL & ~R.NET_MRG_RXBUF)
    places = pair.room(40, 2048)
    pair.wire.far[0].send(PLAIN + bytes(60))
    pair.wire.far[0].send(PLAIN + b"x" * 60)
    assert until(lambda: len(pair.driver.queues[0].chains) == 0 or pair.driver.queues[0].done())
    data = pair.memory.read(places[1][0], 72)
    until(lambda: pair.counts["received"] == 2)
    assert data[12:] == b"x" * 60
    assert HEADER.unpack(data[:12])[-1] == 1
    assert pair.counts["unfit"] == 1


NEEDS_CHECKSUM = HEADER.pack(1, 0, 0, 0, 34, 16, 0)
SEGMENTED = HEADER.pack(1, 1, 54, 1460, 34, 16, 0)
WRONG = {
    "a checksum beyond the frame": HEADER.pack(1, 0, 0, 0, 34, 0xFFFF, 0),
    "a checksum's start beyond the frame": HEADER.pack(1, 0, 0, 0, 0xFFFF, 0, 0),
    "segments of no size": HEADER.pack(1, 1, 54, 0, 34, 16, 0),
    "segments without a checksum": HEADER.pack(0, 1, 54, 1460, 34, 16, 0),
    "an unknown kind of segments": HEADER.pack(1, 7, 54, 1460, 34, 16, 0),
    "UDP's segments": HEADER.pack(1, 3, 54, 1460, 34, 16, 0),
}


@pytest.mark.parametrize("header", [NEEDS_CHECKSUM, SEGMENTED])
def test_offloads_go_both_ways_if_they_were_negotiated(pair, header):
    pair.start()
    pair.send(bytes(100), header=header)
    assert pair.wire.far[0].recv(4096)[:10] == header[:10]
    pair.sent()
    places = pair.room(2048)
    pair.wire.far[0].send(header + bytes(100))
    assert pair.got(places)[0][:10] == header[:10]


@pytest.mark.parametrize("header", [NEEDS_CHECKSUM, SEGMENTED, *WRONG.values()])
def test_what_was_not_negotiated_is_dropped(pair, header):
    pair.start(BASE)
    pair.send(bytes(100), header=header)
    pair.sent()
    places = pair.room(2048)
    pair.wire.far[0].send(header + bytes(100))
    pair.wire.far[0].send(PLAIN + b"x" * 50)
    assert pair.got(places)[0][12:] == b"x" * 50
    assert (pair.counts["malformed"], pair.counts["unfit"]) == (1, 1)


@pytest.mark.parametrize("case", WRONG)
def test_a_malformed_header_costs_its_frame_alone(pair, case):
    pair.start()
    pair.send(bytes(100), header=WRONG[case])
    pair.sent()
    pair.send(b"y" * 100)
    assert pair.wire.far[0].recv(4096) == PLAIN + b"y" * 100
    assert pair.counts["malformed"] == 1


@pytest.mark.parametrize("size", [1, 11, 12, 25, 12 + 69633])
def test_a_frame_too_short_or_too_long_is_dropped(pair, size):
    pair.start()
    pair.memory.write(SENT, bytes(size))
    pair.driver.queues[1].add([Buffer(SENT, size)])
    pair.driver.notify(1)
    pair.sent()
    pair.driver.queues[1].add([Buffer(SENT, 100, write=True)])  # nothing to be read at all
    pair.driver.notify(1)
    pair.sent()
    assert pair.counts["malformed"] == 2


def test_a_full_backend_holds_the_driver_back_and_loses_nothing(pair):
    pair.start(queues=2, size=256)
    queue = pair.driver.queues[1]
    for at in range(256):
        pair.memory.write(SENT + 64 * at, PLAIN + at.to_bytes(52, "little"))
        queue.add([Buffer(SENT + 64 * at, 64)])
    pair.wire.near[0].setsockopt(1, 7, 4096)  # SO_SNDBUF
    pair.driver.notify(1)
    until(lambda: pair.wire.net.pair[0].full)
    assert len(queue.chains) > 0
    assert [int.from_bytes(pair.wire.far[0].recv(100)[12:], "little") for _ in range(256)] == [*range(256)]
    done = []
    until(lambda: done.extend(queue.done()) or len(done) == 256)


def test_frames_wait_outside_until_there_are_buffers_and_while_it_is_held(pair):
    pair.start()
    for at in range(8):
        pair.wire.far[0].send(PLAIN + bytes([at]) * 20)
    with pair.guest.paths[0].held():
        assert pair.counts["received"] == 0
        places = pair.room(*[100] * 8)
        assert pair.driver.queues[0].done() == []
    done = []
    until(lambda: done.extend(pair.driver.queues[0].done()) or len(done) == 8)
    assert [pair.memory.read(at + 12, 1)[0] for at, _ in places] == [*range(8)]


def test_nothing_is_written_after_a_reset(pair):
    for _ in range(50):
        pair.start()
        pair.at = ROOM
        pair.room(*[2048] * 8)
        for _ in range(6):
            pair.wire.far[0].send(PLAIN + b"z" * 500)
        pair.driver.write(R.STATUS, 0)
        before = bytes([9]) * 2048 * 8
        pair.memory.write(ROOM, before)
        with pair.guest.paths[0].held():
            pass
        assert pair.memory.read(ROOM, len(before)) == before


def test_the_control_queue(pair, four):
    pair.start()
    assert [pair.command(0, which, bytes([on])) for which in (0, 1) for on in (0, 1)] == [0, 0, 0, 0]
    assert pair.command(4, 0, b"\1\0") == 1  # no several queues
    for wrong in ((0, 0, b""), (0, 0, b"\2"), (0, 9, b"\0"), (1, 0, bytes(6)), (2, 0, bytes(2)), (9, 0, b"")):
        assert pair.command(*wrong) == 1
    two = struct.pack("<I12s", 2, bytes(12))
    for tables in (bytes(8), two + bytes(4), two + two):  # of addresses: one of interfaces, one of groups
        assert pair.command(1, 0, tables) == 0
        assert pair.command(1, 0, tables[:-1]) == 1
    for most in (b"\xff" * 4, b"\xab\xaa\xaa\x2a"):  # the second would end near 2^32
        assert pair.command(1, 0, most + bytes(4)) == 1
    four.start(ALL | R.NET_MQ, queues=9)
    assert [four.command(4, 0, struct.pack("<H", n), queue=8) for n in (0, 1, 4, 5, 0xFFFF)] == [1, 0, 0, 1, 1]
    assert four.wire.pairs == 4


def test_commands_without_room_for_an_answer(pair):
    pair.start()
    for size in (1, 2, 3):
        pair.driver.queues[2].add([Buffer(SENT, size)])
        pair.driver.notify(2)
        assert until(pair.driver.queues[2].done)[0][1] == 0


def test_each_pair_of_queues_has_its_frames(four):
    four.start(ALL | R.NET_MQ, queues=9)
    assert four.command(4, 0, b"\4\0", queue=8) == 0
    four.at = ROOM
    for at in range(4):
        four.send(bytes([at]) * 20, pair=at, table=None)
        assert four.wire.far[at].recv(4096) == PLAIN + bytes([at]) * 20
        places = four.room(200, pair=at)
        four.wire.far[at].send(PLAIN + bytes([at]) * 30)
        assert four.got(places, pair=at)[0][12:] == bytes([at]) * 30


def test_a_driver_without_several_queues_has_its_control_queue_at_2(four):
    four.start(ALL, queues=3)
    assert four.command(0, 0, b"\1") == 0


def test_a_saved_device_goes_on_elsewhere(connect, four):
    four.start(ALL | R.NET_MQ, queues=9)
    assert four.command(4, 0, b"\3\0", queue=8) == 0
    with four.guest.paths[0].held():
        state = four.guest.device.save()
    other = connect(queues=4)
    other.guest.device.load(state)
    assert other.wire.pairs == 3
    other.driver = four.driver.moved(other.guest, other.memory)
    other.send(b"m" * 40, pair=2, table=None)
    assert other.wire.far[2].recv(4096) == PLAIN + b"m" * 40


def test_a_saved_device_tells_that_its_link_has_changed_since(connect, pair):
    pair.start()
    pair.wire.net.up = False
    pair.guest.device._device.troubled()
    pair.driver.acknowledge()
    with pair.guest.paths[0].held():
        state = pair.guest.device.save()
    other = connect()
    other.guest.device.load(state)
    driver = pair.driver.moved(other.guest, other.memory)
    before = driver.read_configuration(6, 2)
    other.guest.device.tick()
    assert (before, driver.read_configuration(6, 2), driver.acknowledge()) == (0, R.NET_LINK_UP, R.CONFIGURATION)


def test_frames_that_the_driver_sends_right_before_the_end_leave(pair):
    """It tells of them once, and they are more than are sent at a time."""
    pair.start(BASE & ~R.NET_CTRL_VQ, queues=2, size=256)
    pair.wire.near[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    pair.memory.write(SENT, PLAIN + bytes(60))
    for _ in range(200):
        pair.driver.queues[1].add([Buffer(SENT, 72)])
    pair.driver.notify(1)
    pair.guest.paths[0].end()
    assert pair.wire.counts()["sent"] == 200


def test_frames_of_a_guest_that_stands_at_the_end_stay(pair):
    """It may go on from a snapshot, and sends them then."""
    pair.start()
    pair.guest.paths[0].hold()
    pair.send(bytes(60))
    pair.guest.paths[0].end()
    assert pair.wire.counts()["sent"] == 0


def test_another_side_that_is_gone_stops_nothing(pair):
    pair.start()
    pair.room(200)
    pair.wire.far[0].close()
    until(lambda: pair.wire.net.pair[0].fd == -1)
    pair.send(bytes(60))
    pair.sent()
    assert pair.counts["refused"] == 1


def test_a_fault_in_a_queue_stops_the_device_until_a_reset(pair):
    pair.start()
    pair.driver.queues[0].offer(99)
    pair.driver.notify(0)
    pair.wire.far[0].send(PLAIN + bytes(60))
    until(pair.guest.troubled)
    pair.guest.device.tick()
    assert pair.driver.read(R.STATUS) & R.NEEDS_RESET
    pair.start()
    places = pair.room(200)
    pair.wire.far[0].send(PLAIN + b"a" * 60)
    data = pair.got(places)[0]
    assert data[12:] in (bytes(60), b"a" * 60)


def test_a_frame_that_waited_at_a_reset_is_forgotten(pair):
    pair.start(size=4)
    pair.room(64, 64)
    pair.wire.far[0].send(PLAIN + bytes(500))
    until(lambda: pair.counts["received"] == 1)
    pair.driver.write(R.STATUS, 0)
    assert pair.counts == {**dict.fromkeys(COUNTS, 0), "received": 1, "forgotten": 1}
    pair.driver.write(R.STATUS, 0)
    assert pair.counts["forgotten"] == 1


def test_the_counts_are_those_of_c():
    assert [name for name, _ in ffi.typeof("struct net_counts").fields] == [*COUNTS]


def test_the_constants():
    assert (HEADER.size, 12 + 69632) == (lib.NET_HEADER, lib.NET_FRAME)
