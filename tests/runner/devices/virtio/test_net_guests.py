"""Small flat guests that drive a network device through real exits: frames, and what is none, with a peer that is as
hostile."""

import socket
import struct
import sys
import threading
from contextlib import closing, suppress
from datetime import datetime

import pytest

import tracer
from runner.devices.device import DeviceError
from runner.native._native import lib
from tests.fakes import pcapngfile
from tests.fakes.flatdriver import (
    AVAILABLE,
    DATA,
    HERE,
    HLT,
    USED,
    await_reset_needed,
    await_word,
    describe,
    offer,
    put,
    show,
    show_register,
    start,
    store,
)
from tests.runner.test_full_disk import on_small_disk
from tracer.analysis.frames import counted
from tracer.analysis.kicks import Kicks
from vmspec.registers import virtio as R
from vmspec.trace import keys as metadata

pytestmark = pytest.mark.kvm

RINGS, BUFFERS = 0x30000, 0x31000  # of the queue of frames to the driver
LONGEST = lib.NET_FRAME - lib.NET_HEADER
PLAIN = bytes(lib.NET_HEADER)
FRAME = b"a good frame of the guest's, in full."


class Peer(threading.Thread):
    """Sends bytes to the device that connects, and hears what comes from it until it is gone."""

    def __init__(self, path, sends):
        super().__init__()
        self.sends, self.heard = sends, b""
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(str(path))
        self.server.listen()

    def run(self):
        end = self.server.accept()[0]
        with end:
            with suppress(BrokenPipeError):  # the guest has ended, and what it has sent is here
                end.sendall(self.sends)
            try:
                while data := end.recv(1 << 16):
                    self.heard += data
            except ConnectionResetError:  # the device had not read all
                pass


def framed(*frames):
    return b"".join(struct.pack(">I", len(frame)) + frame for frame in frames)


@pytest.fixture
def drive(run_driver, tmp_path):
    """Runs a guest with a device and its peer; returns the result and what the peer has heard."""

    def run(code, sends=b"", **keys):
        path = tmp_path / "wire"
        peer = Peer(path, sends)
        with closing(peer.server):
            peer.start()
            result = run_driver(code, {"kind": "virtio-net", "stream": str(path), **keys})
            peer.join()
        return result, peer.heard

    return run


def frames(trace):
    """What the trace says of the device's frames, without what there was none of."""
    return {name: count for name, count in counted(trace)["virtio-net0"].items() if count}


def receiving(*buffers):
    """Set up the queue of frames to the driver too, with chains of one buffer each: (size, flags), (address, size,
    flags)."""
    places = [(BUFFERS + 0x800 * at, *buffer)[-3:] for at, buffer in enumerate(buffers)]
    steps = [(R.QUEUE_SEL, 0), (R.QUEUE_NUM, 8), (R.QUEUE_DESC, RINGS), (R.QUEUE_DRIVER, RINGS + 0x100)]
    steps += [(R.QUEUE_DEVICE, RINGS + 0x200), (R.QUEUE_READY, 1)]
    words = [(RINGS + 0x100, 0), (RINGS + 0x200, 0)]
    words += [(HERE + offset, value) for offset, value in steps]
    for at, (address, size, flags) in enumerate(places):
        fields = struct.unpack("<4I", struct.pack("<QIHH", address, size, flags, 0))
        words += [(RINGS + 16 * at + 4 * n, word) for n, word in enumerate(fields)]
    words += [(RINGS + 0x104 + 4 * at, 2 * at | (2 * at + 1) << 16) for at in range(4)]
    words += [(RINGS + 0x100, len(places) << 16), (HERE + R.QUEUE_NOTIFY, 0)]
    return b"".join(store(address, value) for address, value in words)


def send(frame=FRAME, header=PLAIN, place=DATA + 0x1000):
    """Describe a frame in a buffer, as descriptor 7."""
    return put(place, header + frame) + describe(7, place, len(header + frame), 0)


@pytest.mark.parametrize("notify", ["exit", "ioeventfd"])
def test_a_guest_sends_and_receives(drive, notify):
    code = start(features=R.NET_MRG_RXBUF, index=1) + receiving((0x800, 2)) + await_word(RINGS + 0x202, 1)
    code += send() + offer(0, 7, queue=1) + await_word(USED + 2, 1) + show(BUFFERS, 12 + 20)
    result, heard = drive(code, framed(b"f" * 20), notify=notify)
    assert (result.kind, heard) == ("halt", framed(FRAME))
    assert result.console == bytes(10) + b"\1\0" + b"f" * 20


def test_each_frame_is_a_row_with_the_exit_that_told_of_it(drive):
    code = start(index=1) + send() + offer(0, 7, queue=1) + await_word(USED + 2, 1)
    code += describe(0, DATA, 12, 0) + offer(0, 7, 0, queue=1) + await_word(USED + 2, 2)
    trace = tracer.load(drive(code)[0].trace)
    rows, kicks = trace.tables["requests"].table.to_pylist(), Kicks(trace)
    names = ("device", "queue", "kind", "length", "bytes_out", "bytes_in", "status")
    assert [tuple(row[name] for name in names) for row in rows] == [
        ("virtio-net0", 1, "transmit", len(FRAME), 12 + len(FRAME), 0, "ok"),
        ("virtio-net0", 1, "transmit", 0, 12, 0, "error"),
    ]
    assert all(kicks.before("virtio-net0", 1, row["t_done"]) is not None for row in rows)


# A checksum beyond the frame, segments without a checksum, of no size, of no known kind.
HEADERS = [struct.pack("<BBHHHHH", *fields, 0) for fields in (
    (1, 0, 0, 0, 0xFFFF, 0xFFFF), (0, 1, 54, 1460, 0, 0), (1, 1, 54, 0, 14, 2), (1, 7, 54, 1460, 14, 2),
)]  # fmt: skip
NO_FRAME = {
    "longer than the limit": describe(0, DATA, lib.NET_FRAME + 1, 0),
    "a header without a frame": describe(0, DATA, 12, 0),
    "half a header": describe(0, DATA, 5, 0),
    "half an Ethernet header": describe(0, DATA, 12 + 13, 0),
    "nothing to be read": describe(0, DATA, 100, 2),
    "a checksum that was not agreed on": put(DATA, b"\1" + bytes(63)) + describe(0, DATA, 64, 0),
    **{f"a wrong header, {at}": put(DATA, header) + describe(0, DATA, 64, 0) for at, header in enumerate(HEADERS)},
}


@pytest.mark.parametrize("case", NO_FRAME)
def test_what_is_no_frame_is_dropped_and_the_next_one_goes(drive, case):
    code = start(index=1) + NO_FRAME[case] + send() + offer(0, 0, 7, queue=1) + await_word(USED + 2, 2)
    result, heard = drive(code)
    assert (result.kind, heard) == ("halt", framed(FRAME))
    trace = tracer.load(result.trace)
    assert [row["status"] for row in trace.tables["requests"].table.to_pylist()] == ["error", "ok"]
    assert frames(trace) == {"sent": 1, "malformed": 1}


def test_a_buffer_to_be_written_in_a_frame_of_the_drivers_is_left_alone(drive):
    code = start(index=1) + put(DATA, PLAIN + FRAME) + describe(0, DATA, 12 + len(FRAME), 1, 1)
    code += describe(1, DATA + 0x2000, 64, 2) + store(DATA + 0x2000, 0x21212121)
    result, heard = drive(code + offer(0, 0, queue=1) + await_word(USED + 2, 1) + show(DATA + 0x2000, 4))
    assert (result.console, heard) == (b"!!!!", framed(FRAME))


NO_ROOM = {
    "no room for the header": (4, 2),
    "room for the header alone": (12, 2),
    "nothing to be written": (64, 0),
}


@pytest.mark.parametrize("case", NO_ROOM)
def test_a_buffer_without_room_costs_a_frame_alone(drive, case):
    """Without merged buffers: the frame after it is in the next buffer."""
    code = start(index=1) + receiving(NO_ROOM[case], (0x800, 2)) + await_word(RINGS + 0x202, 2)
    result, _ = drive(code + show(BUFFERS + 0x800, 12 + 30), framed(b"l" * 30, b"k" * 30))
    assert (result.kind, result.console) == ("halt", bytes(10) + b"\1\0" + b"k" * 30)
    assert frames(tracer.load(result.trace)) == {"received": 2, "unfit": 1}


@pytest.mark.parametrize("case", NO_ROOM)
def test_merged_buffers_may_be_as_small_as_they_like(drive, case):
    code = start(features=R.NET_MRG_RXBUF, index=1) + receiving(NO_ROOM[case], (0x800, 2))
    room = NO_ROOM[case][0] if NO_ROOM[case][1] else 0
    code += await_word(RINGS + 0x202, 2) + show(BUFFERS, room) * bool(room) + show(BUFFERS + 0x800, 12 + 30 - room)
    result, _ = drive(code, framed(b"m" * 30))
    assert (result.kind, result.console) == ("halt", bytes(10) + b"\2\0" + b"m" * 30)
    rows = tracer.load(result.trace).tables["requests"].table.to_pylist()
    assert [(row["length"], row["bytes_in"]) for row in rows] == [(30, room), (0, 12 + 30 - room)]


BROKEN = {
    "a head beyond the queue": offer(0, 8, queue=1),
    "a chain that loops": describe(0, DATA, 4, 1, 0) + offer(0, 0, queue=1),
    "a next beyond the queue": describe(0, DATA, 4, 1, 8) + offer(0, 0, queue=1),
    "no bytes": describe(0, DATA, 0, 0) + offer(0, 0, queue=1),
    "a buffer outside RAM": describe(0, 0x7FFFFFFF0, 64, 0) + offer(0, 0, queue=1),
    "a buffer whose end wraps": describe(0, (1 << 64) - 16, 64, 0) + offer(0, 0, queue=1),
    "read after written": describe(0, DATA, 4, 3, 1) + describe(1, DATA, 60, 0) + offer(0, 0, queue=1),
    "more frames than the queue is long": store(AVAILABLE, 9 << 16) + store(HERE + R.QUEUE_NOTIFY, 1),
    "a buffer to receive in the device's own registers": receiving((HERE, 64, 2)),
    "a buffer to receive beyond the address space": receiving(((1 << 64) - 16, 64, 2)),
    "buffers to receive without bytes": receiving((0, 2)),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_queue_stops_the_device_until_a_reset(drive, case):
    """Frames come meanwhile, and wait."""
    code = start(features=R.NET_MRG_RXBUF, index=1) + BROKEN[case] + await_reset_needed()
    code += store(AVAILABLE, 0) + store(USED, 0) + start(features=R.NET_MRG_RXBUF, index=1) + receiving((0x800, 2))
    code += send() + offer(0, 7, queue=1) + await_word(USED + 2, 1) + await_word(RINGS + 0x202, 1)
    result, heard = drive(code, framed(b"n" * 30, b"n" * 30))
    assert (result.kind, heard) == ("halt", framed(FRAME))


def test_the_peers_frames_that_are_none_are_dropped(drive):
    code = start(index=1) + receiving((0x800, 2)) + await_word(RINGS + 0x202, 1) + show(BUFFERS + 12, 14)
    result, _ = drive(code, framed(b"", b"x", b"y" * 13, b"z" * 14))
    assert result.console == b"z" * 14
    assert frames(tracer.load(result.trace)) == {"received": 4, "unfit": 3}


def test_a_peer_that_announces_too_much_is_given_up(drive):
    """The link is down then: the guest sees it in the configuration (offset 6), and what it sends goes nowhere."""
    down = b"\xf7\x05" + struct.pack("<II", HERE + R.CONFIG + 4, R.NET_LINK_UP << 16) + b"\x75\xf4"  # test; jnz
    code = start(index=1) + receiving((0x800, 2)) + down + send() + offer(0, 7, queue=1) + await_word(USED + 2, 1)
    result, heard = drive(code + show_register(R.CONFIG_GENERATION), struct.pack(">I", LONGEST + 1) + bytes(100))
    assert (result.kind, heard, result.console) == ("halt", b"", b"\1\0\0\0")
    trace = tracer.load(result.trace)
    assert [row["status"] for row in trace.tables["requests"].table.to_pylist()] == ["error"]
    assert frames(trace) == {"refused": 1, "overlong": 1}


def test_a_capture_has_what_goes_over_the_wire_both_ways(drive, tmp_path):
    """What is no frame of the driver's is not sent. Its times are those of the requests."""
    code = start(features=R.NET_MRG_RXBUF, index=1) + receiving((0x800, 2)) + await_word(RINGS + 0x202, 1)
    code += describe(0, DATA, 12, 0) + send() + offer(0, 0, 7, queue=1) + await_word(USED + 2, 2)
    result, _ = drive(code, framed(b"x", b"f" * 20), capture="net.pcapng")
    captured = pcapngfile.read(tmp_path / "net.pcapng")
    assert [packet[1:] for packet in captured.packets] == [("in", b"x"), ("in", b"f" * 20), ("out", FRAME)]
    assert captured.interface[2] == b"virtio-net0"
    assert captured.statistics == {4: 3, 5: 2, 7: 0}  # frames; without a whole Ethernet header both ways; unseen
    trace = tracer.load(result.trace)
    started = datetime.fromisoformat(trace.metadata[metadata.STARTED]).timestamp()
    rows = [row for row in trace.tables["requests"].table.to_pylist() if row["status"] == "ok"]
    offsets = [packet.time / 1e9 - started - row["t_done"] / 1e9 for packet, row in zip(
        captured.packets[1:], rows, strict=True
    )]  # fmt: skip
    assert all(-0.1 < offset < 0.1 for offset in offsets)


@pytest.mark.parametrize("path", ["none/net.pcapng", "."])
def test_a_capture_that_cannot_be_written_is_told_before_the_guest_runs(run_guest, tmp_path, path):
    devices = [{"kind": "virtio-net", "listen": str(tmp_path / "wire"), "capture": path}]
    with pytest.raises(DeviceError, match=r"^device\[0\]\.capture: cannot open /.*: (No such file|Is a directory)"):
        run_guest(HLT, boot={"mode": "protected"}, devices=devices)
    assert not (tmp_path / "wire").exists()


def endless():
    """Send a frame again and again: inc word [index]; notify; wait until it is answered."""
    fill = b"".join(store(AVAILABLE + 4 + 4 * at, 7 | 7 << 16) for at in range(4))
    return start(index=1) + put(DATA, PLAIN) + describe(7, DATA, 12 + 0x1000, 0) + fill + again()


def again():
    turn = b"\x66\xff\x05" + struct.pack("<I", AVAILABLE + 2) + store(HERE + R.QUEUE_NOTIFY, 1)
    turn += b"\x66\xa1" + struct.pack("<I", AVAILABLE + 2)  # mov ax, [index]
    turn += b"\x66\x39\x05" + struct.pack("<I", USED + 2) + b"\x75\xf7"  # cmp [used index], ax; jne
    return turn + b"\xe9" + struct.pack("<i", -len(turn) - 5)


# Runs vmrun's command with a peer that hears everything; keeps what is on the small disk.
HEARD = """
import shutil, socket, sys, threading
from pathlib import Path
from runner.cli import main

spec, wire, disk, out = sys.argv[1:]
server = socket.socket(socket.AF_UNIX)
server.bind(wire)
server.listen()
def hear():
    end = server.accept()[0]
    while end.recv(1 << 16):
        pass
threading.Thread(target=hear, daemon=True).start()
status = main([spec])
shutil.copy(Path(disk) / "net.pcapng", out)
print(status)
"""


def test_a_capture_without_room_ends_the_run_and_is_whole(write_spec, tmp_path):
    disk, out = tmp_path / "disk", tmp_path / "kept"
    devices = [{"kind": "virtio-net", "stream": "wire", "capture": "disk/net.pcapng"}]
    spec = write_spec(endless(), boot={"mode": "protected"}, devices=devices, trace=None)
    done = on_small_disk(disk, 256 << 10, sys.executable, "-c", HEARD, spec, tmp_path / "wire", disk, out)
    assert done.stdout.splitlines()[-1] == "6", done.stderr
    assert f"device[0].capture, {disk}/net.pcapng: No space left on device" in done.stderr
    captured = pcapngfile.read(out)
    assert {packet[1:] for packet in captured.packets} == {("out", bytes(0x1000))}
    assert len(captured.packets) > 40
