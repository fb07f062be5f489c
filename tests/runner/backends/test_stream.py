"""Frames over a Unix stream socket, each after its length: in pieces, too long, with a peer that goes and comes."""

import socket
import struct

import pytest

from runner.backends.network import Stream
from runner.devices.device import DeviceError
from runner.devices.virtio.mmio import MMIO
from runner.devices.virtio.net import Net
from runner.memory import GuestMemory
from runner.native._native import lib
from tests.fakes.virtiodriver import Driver
from tests.fakes.virtqueuefake import VERSION_1, Buffer
from tests.runner.devices.conftest import Guest
from tests.runner.devices.virtio.test_datapath import until
from vmspec.plan.calls import Slot
from vmspec.registers import virtio as R

FEATURES = VERSION_1 | R.NET_MRG_RXBUF | R.NET_STATUS
SENT, ROOM = 0x40000, 0x80000
LONGEST = lib.NET_FRAME - lib.NET_HEADER


class Machine:
    """A device over a socket, and its driver with buffers for what comes."""

    def __init__(self, link):
        self.link = link
        self.memory = GuestMemory((Slot(0, 0, 1 << 20, 0),))
        self.guest = Guest(MMIO.of(Net)(Net(link, "52:54:00:12:34:56"), print), memory=self.memory)
        self.driver = Driver(self.guest, self.memory)
        self.buffers = []

    def start(self):
        self.driver.start(2, 64, FEATURES)
        return self.add()

    def add(self):
        """Buffers for what comes."""
        for at in range(60):
            self.driver.queues[0].add([Buffer(ROOM + 4096 * at, 4096, write=True)])
        self.driver.notify(0)
        return self

    def send(self, frame):
        self.memory.write(SENT, bytes(12) + frame)
        self.driver.queues[1].add([Buffer(SENT, 12 + len(frame))])
        self.driver.notify(1)
        until(self.driver.queues[1].done)

    def got(self):
        """The next frame. Its buffers are given again."""
        if not self.buffers:
            self.buffers = [
                (head, self.memory.read(ROOM + 4096 * head, n)) for head, n in until(self.driver.queues[0].done)
            ]
        (n,) = struct.unpack_from("<H", self.buffers[0][1], 10)
        frame, self.buffers = self.buffers[:n], self.buffers[n:]
        for head, _ in frame:
            self.driver.queues[0].free.remove(head)
            self.driver.queues[0].chains[head] = [head]
            self.driver.queues[0].offer(head)
        self.driver.notify(0)
        return b"".join(data for _, data in frame)[12:]

    @property
    def up(self):
        if self.guest.troubled():
            self.guest.device.tick()
        return bool(self.driver.guest.read(R.CONFIG + 6, 2) & R.NET_LINK_UP)

    def close(self):
        self.guest.paths[0].end()
        self.link.close()
        self.memory.close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net"


@pytest.fixture
def listening(path):
    machine = Machine(Stream(path, listens=True)).start()
    yield machine
    machine.close()


@pytest.fixture
def peer(path):
    """Connects to the device."""
    ends = []

    def connect():
        ends.append(socket.socket(socket.AF_UNIX))
        ends[-1].settimeout(20)
        ends[-1].connect(str(path))
        return ends[-1]

    yield connect
    for end in ends:
        end.close()


def framed(frame):
    return struct.pack(">I", len(frame)) + frame


def received(end, n):
    data = b""
    while len(data) < n:
        data += end.recv(n - len(data))
    return data


def test_a_frame_each_way(listening, peer):
    end = peer()
    until(lambda: listening.up)
    listening.send(b"a" * 60)
    assert received(end, 64) == framed(b"a" * 60)
    end.sendall(framed(b"b" * 60))
    assert listening.got() == b"b" * 60


def test_frames_in_pieces_of_any_size(listening, peer):
    end = peer()
    data = framed(b"c" * 60) + framed(b"d" * 3000)
    for at in range(0, len(data), 7):
        end.sendall(data[at : at + 7])
    assert [listening.got(), listening.got()] == [b"c" * 60, b"d" * 3000]


def test_a_frame_too_short_is_dropped_and_one_too_long_ends_the_connection(listening, peer):
    end = peer()
    end.sendall(framed(b"") + framed(b"x" * 13) + framed(b"e" * 14))
    assert listening.got() == b"e" * 14
    end.sendall(struct.pack(">I", LONGEST + 1))
    assert end.recv(1) == b""
    until(lambda: not listening.up)
    assert listening.link.net.counts.overlong == 1


def test_the_link_is_down_until_there_is_a_peer_and_comes_up_with_the_next_one(listening, peer):
    assert not listening.up
    listening.send(b"nobody hears this")
    assert listening.link.net.counts.refused == 1
    for _ in range(3):
        end = peer()
        until(lambda: listening.up)
        assert listening.driver.acknowledge() & R.CONFIGURATION
        listening.send(b"f" * 20)
        assert received(end, 24) == framed(b"f" * 20)
        end.close()
        until(lambda: not listening.up)


def test_what_a_peer_sends_before_it_goes_arrives(listening, peer):
    """Also if it is more than the device takes at once, and more than the driver has buffers for."""
    for _ in range(3):
        with peer() as end:
            end.sendall(b"".join(framed(bytes([at]) * 60) for at in range(200)))
        assert [listening.got()[0] for _ in range(200)] == [*range(200)]
        until(lambda: not listening.up)


def test_what_a_peer_has_sent_arrives_after_a_frame_that_it_does_not_take(path, peer):
    machine = Machine(Stream(path, listens=True))
    machine.driver.start(2, 64, FEATURES)
    with peer() as end:
        until(lambda: machine.up)
        end.sendall(b"".join(framed(bytes([at]) * 60) for at in range(5)))
    until(lambda: not machine.up)
    machine.send(b"nobody hears this")
    machine.add()
    assert [machine.got()[0] for _ in range(5)] == [*range(5)]
    assert machine.link.counts()["refused"] == 1
    machine.close()


def test_a_frame_that_waits_for_room_is_refused_once_the_peer_goes(listening, peer):
    queue = listening.driver.queues[1]
    with peer():
        until(lambda: listening.up)
        for _ in range(60):
            queue.add([Buffer(SENT, 12 + 60000)])
        listening.driver.notify(1)
        until(lambda: listening.link.net.pair[0].full)
    done = []
    until(lambda: done.extend(queue.done()) or len(done) == 60)
    assert listening.link.counts()["refused"] > 0


def test_a_peer_that_does_not_read_holds_the_driver_back(listening, peer):
    end = peer()
    until(lambda: listening.up)
    queue = listening.driver.queues[1]
    frames = [bytes([at]) * 20000 for at in range(60)]
    for at, frame in enumerate(frames):
        listening.memory.write(SENT + 0x1000 * (at % 8), bytes(12) + frame[:4000])
        queue.add([Buffer(SENT + 0x1000 * (at % 8), 4012)])
        if at % 8 == 7:
            listening.driver.notify(1)
            received(end, 8 * 4004)
            until(queue.done)


def test_a_device_connects_and_says_if_nobody_listens(path):
    with pytest.raises(DeviceError, match=r"^stream: .* there is no such socket: start the other side first"):
        Stream(path, listens=False)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        machine = Machine(Stream(path, listens=False)).start()
        end, _ = listener.accept()
        with end:
            assert machine.up
            machine.send(b"g" * 30)
            assert received(end, 34) == framed(b"g" * 30)
        until(lambda: not machine.up)
        machine.close()


def test_the_socket_is_gone_at_the_end_and_one_left_behind_is_replaced(path):
    Stream(path, listens=True).close()
    assert not path.exists()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with pytest.raises(DeviceError, match=r"^stream: .* no program listens there: start the other side first"):
        Stream(path, listens=False)
    Stream(path, listens=True).close()
    assert not path.exists()


def test_a_path_longer_than_an_address_may_be(path):
    longer = path.parent / ("d" * 100) / ("s" * 60)
    longer.parent.mkdir()
    listening = Stream(longer, listens=True)
    connected = Stream(longer, listens=False)
    until(lambda: connected.up)
    connected.close()
    listening.close()
    assert not longer.exists()


def test_a_path_that_something_else_has(path):
    path.write_text("a file")
    with pytest.raises(DeviceError, match=r"^listen: .* it is not a socket: remove it, or give another path"):
        Stream(path, listens=True)
    with pytest.raises(DeviceError, match=r"^stream: .* it is not a socket"):
        Stream(path, listens=False)
    assert path.read_text() == "a file"
    path.unlink()
    first = Stream(path, listens=True)
    with pytest.raises(DeviceError, match=r"^listen: .* another process does: end it, or give another path"):
        Stream(path, listens=True)
    first.close()
