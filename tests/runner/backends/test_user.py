"""User-mode networking: what libslirp answers a guest, and what reaches programs of this host."""

import ctypes
import socket
import struct
import subprocess
import sys
from itertools import permutations
from pathlib import Path

import pytest

from runner.backends.network import User
from runner.devices.device import DeviceError
from tests.runner.backends.test_stream import FEATURES, Machine
from vmspec.registers import virtio as R
from vmspec.trace.frames import COUNTS

try:
    ctypes.CDLL("libslirp.so.0")
    MISSING = None
except OSError as error:
    MISSING = str(error)
pytestmark = pytest.mark.skipif(MISSING is not None, reason=f"no libslirp: {MISSING}")

MAC = bytes.fromhex("525400123456")
GUEST, ROUTER = bytes([10, 0, 2, 15]), bytes([10, 0, 2, 2])


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ip(source, target, payload, protocol=17):
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0, source, target)
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def udp(source_port, target_port, data):
    return struct.pack("!HHHH", source_port, target_port, 8 + len(data), 0) + data


def ethernet(payload, kind=0x0800, target=b"\xff" * 6):
    return target + MAC + struct.pack("!H", kind) + payload


def arp(operation, target=ROUTER):
    return ethernet(
        bytes.fromhex("000108000604") + struct.pack("!H", operation) + MAC + GUEST + bytes(6) + target, 0x806
    )


class Guest(Machine):
    def awaited(self, wanted):
        """The first frame that comes for which ``wanted`` is true; requests for the guest's address are answered."""
        while True:
            frame = self.got()
            if frame[12:14] == b"\x08\x06" and frame[20:22] == b"\0\1" and frame[38:42] == GUEST:
                self.send(arp(2))
            elif wanted(frame):
                return frame


@pytest.fixture
def connect():
    made = []

    def make(*forwards, restricted=False):
        made.append(Guest(User(forwards, restricted, None)).start())
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def server():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.settimeout(20)
        end.bind(("127.0.0.1", 0))
        yield end


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.bind(("127.0.0.1", 0))
        return end.getsockname()[1]


def test_the_router_answers(connect):
    guest = connect()
    guest.send(arp(1))
    answer = guest.awaited(lambda frame: frame[12:14] == b"\x08\x06" and frame[20:22] == b"\0\2")
    assert (answer[:6], answer[28:32]) == (MAC, ROUTER)


def test_the_guest_gets_its_address_by_dhcp(connect):
    guest = connect()
    discover = struct.pack("!BBBBIHH", 1, 1, 6, 0, 0x1234, 0, 0) + bytes(16) + MAC + bytes(10 + 64 + 128)
    discover += bytes.fromhex("63825363350101ff")
    guest.send(ethernet(ip(bytes(4), b"\xff" * 4, udp(68, 67, discover))))
    offer = guest.awaited(lambda frame: frame[23] == 17 and frame[34:38] == struct.pack("!HH", 67, 68))
    assert offer[42 + 16 : 42 + 20] == GUEST


def test_a_packet_reaches_this_host_and_the_answer_the_guest(connect, server):
    guest = connect()
    guest.send(arp(1))
    port = server.getsockname()[1]
    guest.send(ethernet(ip(GUEST, ROUTER, udp(4000, port, b"to the host!"))))
    data, source = server.recvfrom(100)
    assert data == b"to the host!"
    server.sendto(b"to the guest", source)
    frame = guest.awaited(lambda frame: frame[12:14] == b"\x08\0" and frame[23] == 17)
    assert (frame[36:38], frame[42:]) == (struct.pack("!H", 4000), b"to the guest")


def test_a_restricted_guest_reaches_nothing_but_what_a_forward_brings(connect, server):
    port = free_port()
    guest = connect(f"udp:127.0.0.1:{port}:4000", restricted=True)
    guest.send(arp(1))
    guest.send(ethernet(ip(GUEST, ROUTER, udp(4000, server.getsockname()[1], b"not to be heard"))))
    server.sendto(b"by the forward", ("127.0.0.1", port))
    frame = guest.awaited(lambda frame: frame[12:14] == b"\x08\0" and frame[23] == 17)
    assert frame[36:38] + frame[42:] == struct.pack("!H", 4000) + b"by the forward"
    server.setblocking(False)
    with pytest.raises(BlockingIOError):
        server.recv(100)


def test_any_bytes_from_the_guest_are_taken(connect):
    guest = connect()
    for size in (14, 15, 20, 33, 34, 42, 1514, 4000):
        for kind in (0x0800, 0x0806, 0x86DD, 0x1234):
            guest.send(ethernet(bytes(range(256)) * 16, kind)[:size])
    guest.send(arp(1))
    guest.awaited(lambda frame: frame[20:22] == b"\0\2")


def test_an_answer_that_waited_at_a_reset_is_forgotten(connect):
    guest = connect()
    guest.driver.start(2, 64, FEATURES)  # without buffers
    guest.send(arp(1))
    guest.driver.write(R.STATUS, 0)
    assert guest.link.counts() == dict.fromkeys(COUNTS, 0) | {"sent": 1, "forgotten": 1}


def test_a_packet_that_libslirp_objects_to_is_refused(connect):
    """A router advertisement of the guest's (RFC 4861, 4.2): libslirp is the router."""
    guest = connect()
    source, target = bytes.fromhex("fe80" + "00" * 13 + "01"), bytes.fromhex("ff02" + "00" * 13 + "01")
    message = bytes([134, 0, 0, 0]) + bytes(12)
    summed = checksum(source + target + struct.pack("!II", len(message), 58) + message)
    message = message[:2] + struct.pack("!H", summed) + message[4:]
    packet = struct.pack("!IHBB", 6 << 28, len(message), 58, 255) + source + target + message
    guest.send(ethernet(packet, 0x86DD, bytes.fromhex("333300000001")))
    assert {name: count for name, count in guest.link.counts().items() if count and name != "received"} == {
        "refused": 1
    }


def fragments(payload, sizes, identification=7):
    """An IPv4 packet to the router in fragments of these many bytes (multiples of 8), and the rest."""
    at, made = 0, []
    for size in (*sizes, len(payload) - sum(sizes)):
        more = 0x2000 if at + size < len(payload) else 0
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + size, identification, more | at // 8, 64, 17, 0) + GUEST + ROUTER
        head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
        made.append(ethernet(head + payload[at : at + size]))
        at += size
    return made


@pytest.mark.parametrize("order", [*permutations(range(3)), (0, 0, 2, 2, 1), (2, 1, 1, 0)])
def test_a_packet_comes_in_fragments_of_any_order(connect, server, order):
    """libslirp 4.7 as Debian builds it writes over its own memory when the last one comes first."""
    guest = connect()
    guest.send(arp(1))
    data = bytes(range(256)) * 12
    parts = fragments(udp(4000, server.getsockname()[1], data), (1480, 1480))
    for number in order:
        guest.send(parts[number])
    assert server.recv(len(data) + 1) == data


def test_last_fragments_alone_are_taken(connect):
    """As is one that is shorter than it says, or has a wrong checksum."""
    guest = connect()
    for number in range(100):
        last = fragments(bytes(65), (64,), number)[1]
        for bad in (last, last[:-1], last[:24] + b"xx" + last[26:], last[:34]):
            guest.send(bad)
    guest.send(arp(1))
    guest.awaited(lambda frame: frame[20:22] == b"\0\2")
    assert guest.link.counts()["refused"] == 300


def test_fragments_of_many_packets_do_not_mix(connect, server):
    """Of nine that are incomplete, the oldest is given up."""
    guest = connect()
    guest.send(arp(1))
    parts = [fragments(udp(4000, server.getsockname()[1], bytes([at]) * 100), (64,), at) for at in range(9)]
    for frame in (*(last for _, last in parts), *(first for first, _ in reversed(parts))):
        guest.send(frame)
    assert [server.recv(200) for _ in range(8)] == [bytes([at]) * 100 for at in range(8, 0, -1)]


def test_fragments_that_contradict_each_other_are_dropped(connect, server):
    """One after the end, another end, one not of whole units; the first two leave the packet as it is."""
    guest = connect()
    guest.send(arp(1))
    text = udp(4000, server.getsockname()[1], bytes(range(100)))
    first, last = fragments(text, (64,))
    beyond, other = fragments(text + bytes(400), (64, 400))[1], fragments(text[:80], (64,))[1]
    odd = first[:16] + b"\0\x50" + first[18:24] + bytes(2) + first[26:]
    odd = odd[:24] + struct.pack("!H", checksum(odd[14:34])) + odd[26:94]
    for part in (last, beyond, other, odd, first):
        guest.send(part)
    assert server.recv(200) == bytes(range(100))


def test_a_guest_has_so_many_sockets_of_this_process(connect, server):
    """What would need another one is refused; what needs none goes on."""
    guest = connect()
    guest.send(arp(1))
    port, sockets, more = server.getsockname()[1], 512, 9
    for source in range(1, sockets + more + 1):
        guest.send(ethernet(ip(GUEST, ROUTER, udp(source, port, b"x"))))
        if source <= sockets:
            server.recvfrom(1)
    syn = struct.pack("!HHIIBBHHH", 9, port, 0, 0, 0x50, 2, 1024, 0, 0)
    guest.send(ethernet(ip(GUEST, ROUTER, syn, protocol=6)))
    assert guest.link.net.counts.refused == more + 1
    guest.send(arp(1))
    answer = guest.awaited(lambda frame: frame[12:14] == b"\x08\x06" and frame[20:22] == b"\0\2")
    assert answer[28:32] == ROUTER


def test_a_port_that_is_taken(server):
    port = server.getsockname()[1]
    said = f"cannot forward udp:127.0.0.1:{port}:80: another program listens there: give another port of this host"
    with pytest.raises(DeviceError, match=said):
        User([f"udp:127.0.0.1:{port}:80"], False, None)


def test_a_port_of_an_address_that_is_not_this_hosts():
    with pytest.raises(DeviceError, match=r"cannot forward tcp:192\.0\.2\.1:80:80: this host has no such address"):
        User(["tcp:192.0.2.1:80:80"], False, None)


def test_a_privileged_port():
    """In a network namespace of another user's, who has no privilege there."""
    code = "from runner.backends.network import User; User(['tcp:127.0.0.1:80:80'], False, None)"
    wrapped = ["unshare", "-rn", "setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-c", code]
    done = subprocess.run(wrapped, check=False, capture_output=True, text=True, cwd=Path(__file__).parents[3])
    if "unshare:" in done.stderr:
        pytest.skip(f"no network namespace: {done.stderr.strip()}")
    assert "the port is privileged (net.ipv4.ip_unprivileged_port_start): give a higher one" in done.stderr


LIBRARY = Path("/usr/lib/x86_64-linux-gnu/libslirp.so.0")


@pytest.mark.skipif(not LIBRARY.exists(), reason="libslirp is elsewhere")
def test_without_the_library_the_message_names_its_package():
    code = "from runner.backends.network import User; User([], False, None)"
    hidden = f'mount --bind /dev/null {LIBRARY} && exec "$0" -c "$1"'
    command = ["unshare", "-rm", "sh", "-c", hidden, sys.executable, code]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if "unshare:" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no mount namespace: {done.stderr}")
    said = "user-mode networking needs libslirp (Debian: apt-get install libslirp0): "
    assert f"BackendError: {said}" in done.stderr.splitlines()[-1]
