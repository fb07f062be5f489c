"""The socket device: connections from either side, credit, ends, and what a hostile driver sends."""

import socket
import struct
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.backends.vsock import opened
from runner.devices import DeviceError
from runner.devices.device import Board
from runner.devices.virtio.vsock import Vsock
from runner.native._native import lib
from tests.fakes.virtqueuefake import INDIRECT_DESC, VERSION_1, Buffer
from tests.fakes.vsockfakes import NoSockets
from tests.runner.devices.virtio.test_datapath import until
from vmspec.registers import virtio as R

CID, HOST = 42, 2
RECEIVE, TRANSMIT, EVENT = 0, 1, 2
REQUEST, RESPONSE, RST, SHUTDOWN, RW, UPDATE, ASK = range(1, 8)
NO_RECEIVE, NO_SEND = 1, 2
HEADER = struct.Struct("<QQIIIHHIII")
ROOM, SEND = 0x40000, 0x80000
SLOT = 0x1000 + HEADER.size
BUFFER = lib.VSOCK_BUFFER


class Packet(NamedTuple):
    """A header's fields, and the data."""

    guest: int = 1000  # port
    host: int = 5000
    op: int = RW
    data: bytes = b""
    flags: int = 0
    buffer: int = 1 << 16
    forwarded: int = 0
    kind: int = 1
    source: int = CID
    to: int = HOST
    length: int | None = None

    def bytes(self):
        length = len(self.data) if self.length is None else self.length
        fields = (self.source, self.to, self.guest, self.host, length, self.kind, self.op, self.flags)
        return HEADER.pack(*fields, self.buffer, self.forwarded) + self.data


def test_what_its_table_of_the_spec_says(tmp_path):
    sockets = NoSockets(CID)
    made = Vsock.make({"cid": CID}, Board(tmp_path, (), backend=lambda: sockets))
    assert (made.configuration(), made.native()) == (CID.to_bytes(8, "little"), sockets.native)


class Socket:
    """A driver of the device. It gives the device as much room as its queue has."""

    def __init__(self, driver, path):
        self.driver, self.path = driver, path
        self.got: list[Packet] = []
        self.sent = 0
        self.ends: list[socket.socket] = []  # the host's
        self.slots: dict[int, int] = {}
        self.start()

    def start(self, features=VERSION_1 | INDIRECT_DESC, room=8):
        self.driver.start(queues=3, size=8, features=features)
        self.slots.clear()
        self.got.clear()
        for slot in range(room):
            self.give(slot)
        self.driver.notify(RECEIVE)

    def give(self, slot, size=SLOT):
        self.slots[self.driver.queues[RECEIVE].add([Buffer(ROOM + slot * 0x2000, size, write=True)])] = slot

    def send(self, packet, cut=None):
        data = packet.bytes()[:cut] if isinstance(packet, Packet) else packet
        queue = self.driver.queues[TRANSMIT]
        until(lambda: (queue.done(), queue.free)[1])
        at = SEND + (self.sent % 8) * 0x10000
        self.sent += 1
        self.driver.memory.write(at, data)
        queue.add([Buffer(at, len(data))])
        self.driver.notify(TRANSMIT)

    def poll(self, again=True):
        """What has come; the room is given again."""
        done = self.driver.queues[RECEIVE].done()
        for head, written in done:
            slot = self.slots.pop(head)
            data = self.driver.memory.read(ROOM + slot * 0x2000, written)
            source, to, host, guest, length, kind, op, flags, buffer, forwarded = HEADER.unpack(data[: HEADER.size])
            assert (to, length) == (CID, written - HEADER.size)
            self.got.append(Packet(guest, host, op, data[HEADER.size :], flags, buffer, forwarded, kind, to, source))
            if again:
                self.give(slot)
        if done and again:
            self.driver.notify(RECEIVE)
        return self.got

    def await_op(self, op, **fields):
        """The next packet with an operation; what comes before is dropped."""

        def found():
            for at, packet in enumerate(self.poll()):
                if packet.op == op and all(getattr(packet, name) == value for name, value in fields.items()):
                    self.got = self.got[at + 1 :]
                    return packet
            return None

        return until(found)

    def quiet(self):
        """All that was sent has been taken, and nothing has come of it but what is returned."""
        queue = self.driver.queues[TRANSMIT]
        until(lambda: (queue.done(), len(queue.free) == 8)[1])
        with self.driver.guest.paths[0].held():
            return [packet.op for packet in self.poll()]

    def listen(self, port=5000):
        """A program of the host at a port."""
        server = socket.socket(socket.AF_UNIX)
        self.ends.append(server)
        Path(f"{self.path}_{port}").unlink(missing_ok=True)
        server.bind(f"{self.path}_{port}")
        server.listen()
        return server

    def call(self, text=b"CONNECT 1000\n"):
        """A program of the host connects to the guest."""
        caller = socket.socket(socket.AF_UNIX)
        self.ends.append(caller)
        caller.settimeout(20)
        caller.connect(str(self.path))
        caller.sendall(text)
        return caller

    def opened(self, **fields):
        """A connection that the guest has opened; the host's end of it."""
        with self.listen() as server:
            self.send(Packet(op=REQUEST, **fields))
            end = server.accept()[0]
            self.ends.append(end)
            end.settimeout(20)
        assert self.await_op(RESPONSE).host == 5000
        return end


@pytest.fixture
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("v") / "vm"


@pytest.fixture
def device(path):
    device = Vsock(opened({"path": path, "cid": CID}), CID)
    yield device
    device.close()


@pytest.fixture
def vsock(drive, device, path):
    vsock = Socket(drive(device), path)
    yield vsock
    for end in vsock.ends:
        end.close()
    for data_path in vsock.driver.guest.paths:
        data_path.end()


def test_the_configuration_is_the_guests_address(vsock):
    assert [vsock.driver.read(R.CONFIG + at) for at in (0, 4)] == [CID, 0]
    assert vsock.driver.offered() & 3 == R.VSOCK_STREAM


def test_the_guest_connects_to_the_host(vsock):
    end = vsock.opened()
    vsock.send(Packet(data=b"hello"))
    assert end.recv(100) == b"hello"
    end.sendall(b"world")
    packet = vsock.await_op(RW)
    assert (packet.data, packet.guest, packet.host, packet.to) == (b"world", 1000, 5000, HOST)
    assert (packet.forwarded, packet.buffer) == (5, BUFFER)


def test_the_host_connects_to_the_guest(vsock):
    caller = vsock.call()
    asked = vsock.await_op(REQUEST)
    assert asked.guest == 1000
    vsock.send(Packet(host=asked.host, op=RESPONSE))
    vsock.send(Packet(host=asked.host, data=b"from the guest"))
    text = f"OK {asked.host}\n".encode()
    assert caller.recv(len(text), socket.MSG_WAITALL) == text
    assert caller.recv(100) == b"from the guest"
    caller.sendall(b"from the host")
    assert vsock.await_op(RW).data == b"from the host"


def test_what_the_host_sends_with_its_greeting_is_not_lost(vsock):
    caller = vsock.call(b"CONNECT 1000\nGET /")
    asked = vsock.await_op(REQUEST)
    vsock.send(Packet(host=asked.host, op=RESPONSE))
    assert vsock.await_op(RW).data == b"GET /"
    assert caller.recv(100) == f"OK {asked.host}\n".encode()
    caller.close()
    vsock.await_op(SHUTDOWN, flags=3)


def test_a_host_that_closes_without_reading_resets(vsock):
    end = vsock.opened()
    vsock.send(Packet(data=b"unread"))
    vsock.quiet()
    end.close()
    vsock.await_op(RST)


def test_a_greeting_may_come_in_pieces(vsock):
    caller = vsock.call(b"CONN")
    caller.sendall(b"ECT 10")
    caller.sendall(b"00\n")
    assert vsock.await_op(REQUEST).guest == 1000


@pytest.mark.parametrize(
    "text",
    [
        b"\n", b"CONNECT\n", b"CONNECT \n", b"CONNECT x\n", b"CONNECT -1\n", b"CONNECT 1 2\n", b"connect 1\n",
        b"CONNECT 4294967296\n", b"CONNECT 00000000000000000000000000000001\n", b"GET / HTTP/1.1\r\n", b"\0" * 40,
    ],
)  # fmt: skip
def test_a_host_that_greets_otherwise_is_hung_up_on(vsock, text):
    caller = vsock.call(text)
    with suppress(ConnectionResetError):
        assert caller.recv(100) == b""
    assert vsock.quiet() == []


def test_a_guest_that_nobody_in_listens_to_hangs_up(vsock):
    caller = vsock.call()
    asked = vsock.await_op(REQUEST)
    vsock.send(Packet(host=asked.host, op=RST))
    assert caller.recv(100) == b""


def test_a_host_that_gives_up_before_the_guest_answers(vsock):
    caller = vsock.call()
    asked = vsock.await_op(REQUEST)
    caller.close()
    assert vsock.await_op(RST).host == asked.host


def test_a_port_where_nobody_listens_is_refused(vsock):
    vsock.send(Packet(op=REQUEST, host=77))
    assert vsock.await_op(RST)[:2] == (1000, 77)


def test_a_file_that_is_no_socket_is_refused(vsock, path):
    path.with_name("vm_77").write_text("")
    vsock.send(Packet(op=REQUEST, host=77))
    vsock.await_op(RST)


def test_the_guest_closes(vsock):
    end = vsock.opened()
    vsock.send(Packet(data=b"last"))
    vsock.send(Packet(op=SHUTDOWN, flags=3))
    vsock.await_op(RST)
    assert (end.recv(100), end.recv(100)) == (b"last", b"")


def test_what_a_guest_that_closed_has_sent_waits_for_a_slow_host(vsock):
    end = vsock.opened()
    sent = b""
    for at in range(20):  # more than the host's socket takes, less than the credit
        data = bytes([at]) * 12000
        vsock.send(Packet(data=data))
        sent += data
    vsock.send(Packet(op=SHUTDOWN, flags=3))
    vsock.await_op(RST)
    got = b""
    while piece := end.recv(65536):
        got += piece
    assert got == sent


def test_the_guest_ends_one_direction(vsock):
    end = vsock.opened()
    vsock.send(Packet(op=SHUTDOWN, flags=NO_SEND))
    assert end.recv(100) == b""
    end.sendall(b"answer")
    assert vsock.await_op(RW).data == b"answer"
    vsock.send(Packet(op=SHUTDOWN, flags=NO_RECEIVE))
    vsock.await_op(RST)


def test_a_guest_that_receives_no_more_breaks_the_hosts_pipe(vsock):
    end = vsock.opened()
    vsock.send(Packet(op=SHUTDOWN, flags=NO_RECEIVE))
    vsock.send(Packet(data=b"x"))
    assert end.recv(1) == b"x"
    with pytest.raises(BrokenPipeError):
        end.sendall(b"y")
    end.close()
    assert vsock.await_op(SHUTDOWN).flags == 3


def test_the_host_ends_one_direction(vsock):
    end = vsock.opened()
    end.sendall(b"all")
    end.shutdown(socket.SHUT_WR)
    assert vsock.await_op(RW).data == b"all"
    assert vsock.await_op(SHUTDOWN).flags == NO_SEND
    vsock.send(Packet(data=b"still heard"))
    assert end.recv(100) == b"still heard"


def test_the_host_closes(vsock):
    end = vsock.opened()
    end.sendall(b"all")
    end.close()
    vsock.await_op(SHUTDOWN, flags=3)
    vsock.send(Packet(data=b"for nobody"))
    vsock.send(Packet(op=RST))
    assert RST not in vsock.quiet()
    vsock.send(Packet(data=b"nobody is there now"))
    vsock.await_op(RST)


def test_the_host_sends_no_more_than_the_guest_has_room_for(vsock):
    end = vsock.opened(buffer=1000)
    end.sendall(b"a" * 2500)
    assert len(vsock.await_op(RW).data) == 1000
    assert vsock.quiet() == []
    vsock.send(Packet(op=UPDATE, buffer=1000, forwarded=600))
    assert len(vsock.await_op(RW).data) == 600
    vsock.send(Packet(op=UPDATE, buffer=100, forwarded=1000))  # less than is on the way
    assert vsock.quiet() == []
    vsock.send(Packet(op=UPDATE, buffer=5000, forwarded=1600))
    assert len(vsock.await_op(RW).data) == 900


def test_the_guest_learns_its_credit_as_the_host_reads(vsock):
    end = vsock.opened()
    packet = b"x" * 0x8000
    for _ in range(BUFFER // len(packet)):
        vsock.send(Packet(data=packet))
    for _ in range(BUFFER // len(packet)):
        end.recv(len(packet), socket.MSG_WAITALL)
    until(lambda: vsock.await_op(UPDATE).forwarded >= BUFFER // 2)
    vsock.send(Packet(op=ASK))
    vsock.await_op(UPDATE, forwarded=BUFFER)


def test_a_guest_that_sends_more_than_its_credit_is_reset(vsock):
    end = vsock.opened()
    for _ in range(1000):  # the host does not read
        vsock.send(Packet(data=b"x" * 0x8000))
        if any(packet.op == RST for packet in vsock.poll()):
            break
    vsock.await_op(RST)
    while True:
        with suppress(ConnectionResetError):
            if end.recv(1 << 20):
                continue
        break


def test_a_guest_that_lies_about_what_it_passed_on_is_reset(vsock):
    vsock.opened()
    vsock.send(Packet(op=UPDATE, forwarded=1))
    vsock.await_op(RST)


INVALID = {
    "nobody's data": Packet(),
    "nobody's answer": Packet(op=RESPONSE),
    "nobody's end": Packet(op=SHUTDOWN, flags=3),
    "nobody's credit": Packet(op=UPDATE),
    "no operation": Packet(op=0),
    "an unknown operation": Packet(op=8),
    "a large operation": Packet(op=0xFFFF),
    "another type": Packet(op=REQUEST, kind=2),
    "no type": Packet(op=REQUEST, kind=0),
    "another host": Packet(op=REQUEST, to=7),
    "itself": Packet(op=REQUEST, to=CID),
    "more data than there is": Packet(op=REQUEST, length=1),
    "far more data than there is": Packet(op=REQUEST, length=0xFFFFFFFF),
}


@pytest.mark.parametrize("case", INVALID)
def test_what_is_invalid_is_answered_by_a_reset(vsock, case):
    packet = INVALID[case]
    with vsock.listen():
        vsock.send(packet)
        answer = vsock.await_op(RST)
    assert (answer.guest, answer.host, answer.to, answer.kind) == (1000, 5000, packet.to, packet.kind)
    assert vsock.quiet() == []


@pytest.mark.parametrize(
    "packet",
    [
        Packet(op=REQUEST), Packet(op=RESPONSE), Packet(op=0), Packet(op=9), Packet(kind=2), Packet(length=100),
        Packet(length=0xFFFFFFFF), Packet(forwarded=1 << 31),
    ],
)  # fmt: skip
def test_what_is_invalid_ends_its_connection(vsock, packet):
    end = vsock.opened()
    vsock.send(packet)
    vsock.await_op(RST)
    assert end.recv(100) == b""
    vsock.opened()


@pytest.mark.parametrize("cut", [1, 43])
def test_part_of_a_header_is_ignored(vsock, cut):
    vsock.send(Packet(op=REQUEST), cut=cut)
    assert vsock.quiet() == []


def test_a_packet_from_another_guest_is_ignored(vsock):
    vsock.send(Packet(op=REQUEST, source=CID + 1))
    vsock.send(Packet(op=RST))  # of no connection
    assert vsock.quiet() == []


def test_data_after_the_guest_ended_its_direction_resets(vsock):
    vsock.opened()
    vsock.send(Packet(op=SHUTDOWN, flags=NO_SEND))
    vsock.send(Packet(data=b"x"))
    vsock.await_op(RST)


def test_resets_wait_for_room_and_none_is_lost(vsock):
    """A driver that gives no room, and sends what is invalid: the device takes no more than it can answer."""
    vsock.start(room=0)
    queue = vsock.driver.queues[TRANSMIT]
    for port in range(lib.VSOCK_RESETS):
        vsock.send(Packet(guest=port))
    until(lambda: (queue.done(), len(queue.free) == 8)[1])
    for port in range(8):
        vsock.send(Packet(guest=lib.VSOCK_RESETS + port))
    with vsock.driver.guest.paths[0].held():
        assert queue.done() == []
    for slot in range(8):
        vsock.give(slot)
    vsock.driver.notify(RECEIVE)
    until(lambda: len(vsock.poll()) == lib.VSOCK_RESETS + 8)
    assert sorted(packet.guest for packet in vsock.got) == list(range(lib.VSOCK_RESETS + 8))


def test_room_for_less_than_a_header_goes_back(vsock):
    vsock.start(room=0)
    vsock.give(0, HEADER.size - 1)
    vsock.give(1, HEADER.size)
    vsock.send(Packet(op=RW))
    queue = vsock.driver.queues[RECEIVE]
    done = []
    until(lambda: (done.extend(queue.done()), len(done) == 2)[1])
    assert [written for _, written in done] == [0, HEADER.size]


def test_room_for_a_header_alone_gets_no_data_and_loses_none(vsock):
    end = vsock.opened()
    with vsock.driver.guest.paths[0].held():
        end.sendall(b"data")
        for _ in range(8):
            vsock.driver.queues[RECEIVE].free or vsock.poll(again=False)
    assert vsock.await_op(RW).data == b"data"


def test_more_connections_than_there_may_be(vsock):
    with vsock.listen() as server:
        ends = []
        for port in range(lib.VSOCK_CONNECTIONS):
            vsock.send(Packet(op=REQUEST, guest=port))
            ends.append(server.accept()[0])
            vsock.poll()
        vsock.send(Packet(op=REQUEST, guest=lib.VSOCK_CONNECTIONS))
        assert vsock.await_op(RST).guest == lib.VSOCK_CONNECTIONS
        ends[7].sendall(b"seven")
        assert vsock.await_op(RW).guest == 7
        vsock.send(Packet(op=RST, guest=3))
        assert ends[3].recv(10) == b""
        vsock.send(Packet(op=REQUEST, guest=lib.VSOCK_CONNECTIONS))
        vsock.await_op(RESPONSE, guest=lib.VSOCK_CONNECTIONS)
        for end in ends:
            end.close()


def test_connections_end_with_a_reset(vsock):
    end, caller = vsock.opened(), vsock.call(b"")
    vsock.driver.write(R.STATUS, 0)
    assert end.recv(100) == b""
    caller.close()
    vsock.start()
    assert vsock.quiet() == []
    vsock.opened()


def test_a_loaded_device_tells_that_the_connections_are_gone(vsock, drive, path):
    end = vsock.opened()
    state = vsock.driver.guest.device.save()
    event = vsock.driver.queues[EVENT].add([Buffer(0x38000, 4, write=True)])
    vsock.driver.memory.write(0x38000, b"\xff" * 4)
    other = drive(Vsock(opened({"path": path.with_name("other"), "cid": CID}), CID))
    vsock.driver.guest.paths[0].end()
    other.guest.device.load(state)
    moved = vsock.driver.moved(other.guest, other.memory)
    assert until(moved.queues[EVENT].done) == [(event, 4)]
    assert moved.memory.read(0x38000, 4) == bytes(4)
    other.guest.paths[0].end()
    end.close()
    other.guest.device.close()


def test_an_event_waits_until_the_driver_has_room(vsock, drive, path):
    state = vsock.driver.guest.device.save()
    other = drive(Vsock(opened({"path": path.with_name("other"), "cid": CID}), CID))
    vsock.driver.guest.paths[0].end()
    other.guest.device.load(state)
    moved = vsock.driver.moved(other.guest, other.memory)
    moved.queues[EVENT].add([Buffer(0x38000, 4, write=True)])
    moved.notify(EVENT)
    until(moved.queues[EVENT].done)
    other.guest.paths[0].end()
    other.guest.device.close()


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    packets=st.lists(
        st.builds(
            Packet,
            guest=st.integers(0, 2),
            host=st.sampled_from([5000, 5000, 77]),
            op=st.sampled_from([REQUEST, REQUEST, *range(9), 0xFFFF]),
            data=st.binary(max_size=100),
            flags=st.integers(0, 4),
            buffer=st.sampled_from([0, 1, 1000, 1 << 31, 0xFFFFFFFF]),
            forwarded=st.sampled_from([0, 0, 1, 1 << 31, 0xFFFFFFFF]),
            kind=st.sampled_from([1, 1, 1, 0, 2]),
            source=st.sampled_from([CID, CID, CID, HOST]),
            to=st.sampled_from([HOST, HOST, HOST, CID]),
            length=st.sampled_from([None, None, 0, 50, 0xFFFFFFFF]),
        ),
        max_size=30,
    )
)
def test_a_hostile_driver_harms_only_its_own_connections(vsock, packets):
    vsock.start()
    with vsock.listen() as server:
        server.setblocking(False)
        ends = []
        for packet in packets:
            vsock.send(packet)
            with suppress(BlockingIOError, BrokenPipeError):
                ends.append(server.accept()[0])
                ends[-1].send(b"something")
        vsock.quiet()
        for end in ends:
            end.close()
    vsock.start()
    end = vsock.opened(guest=9)
    vsock.send(Packet(guest=9, data=b"works"))
    assert end.recv(10) == b"works"


# The socket's file


def test_the_socket_is_removed_at_the_end(device, path):
    assert path.is_socket()
    device.close()
    device.close()
    assert not path.exists()


def test_a_socket_that_was_left_behind_is_replaced(path):
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
    assert path.is_socket()
    opened({"path": path, "cid": CID}).close()
    assert not path.exists()


def test_a_socket_that_another_listens_at_is_left_alone(device, path):
    with pytest.raises(DeviceError, match=r"cannot listen at .*: another process does: end it, or give another path"):
        opened({"path": path, "cid": CID})
    assert path.is_socket()


def test_a_file_is_left_alone(path):
    path.write_text("precious")
    with pytest.raises(DeviceError, match=r"it is not a socket: remove it, or give another path"):
        opened({"path": path, "cid": CID})
    assert path.read_text() == "precious"


def test_a_directory_that_is_missing(path):
    with pytest.raises(DeviceError, match=r"cannot listen at .*/none/vm: No such file or directory"):
        opened({"path": path.with_name("none") / "vm", "cid": CID})


def test_a_socket_that_has_taken_the_place_is_left_alone(device, path):
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        device.close()
        assert path.is_socket()


def test_a_path_may_be_longer_than_a_unix_address(tmp_path):
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    sockets = opened({"path": deep / ("s" * 75), "cid": CID})
    assert (deep / ("s" * 75)).is_socket()
    sockets.close()
