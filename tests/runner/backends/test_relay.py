"""Between a network device with virtual time and its backend: frames both ways, and sides that do not take them."""

import os
import socket
import struct
from contextlib import suppress
from pathlib import Path

import pytest

from runner.backends import relay
from runner.backends.capture import Capture
from runner.backends.errors import BackendError
from runner.backends.network import Stream, Tap
from runner.backends.relay import Relayed
from runner.native._native import ffi, lib
from tests.fakes import pcapngfile
from tests.fakes.netfakes import Wire
from tests.runner.devices.virtio.test_datapath import until
from vmspec.registers import virtio as R

PLAIN = bytes(12)
TASKS = Path("/proc/self/task")
OPTIONS = {"tap": None}


class Made:
    """A link over a backend that is like a tap."""

    def __init__(self, backend=None):
        self.backend = backend or Wire()
        self.link = Relayed(OPTIONS, self.backend)
        self.source = socket.socket(fileno=os.dup(self.link.source))
        self.source.settimeout(20)
        self.far = self.backend.far[0] if backend is None else None

    def send(self, frame):
        """As the device does."""
        with socket.socket(fileno=os.dup(self.link.source)) as end:
            end.setblocking(False)
            end.send(PLAIN + frame)

    def close(self):
        self.source.close()
        self.link.close()


@pytest.fixture
def made():
    made = Made()
    yield made
    made.close()


def test_a_frame_each_way(made):
    made.send(b"a" * 60)
    assert made.far.recv(1 << 17) == PLAIN + b"a" * 60
    made.far.send(b"\1" * 12 + b"b" * 60)
    assert made.source.recv(1 << 17) == b"\1" * 12 + b"b" * 60


def test_the_longest_frames_go_both_ways(made):
    longest = b"l" * (lib.NET_FRAME - 12)
    made.send(longest)
    assert made.far.recv(1 << 17) == PLAIN + longest
    made.far.send(PLAIN + longest)
    assert made.source.recv(1 << 17) == PLAIN + longest


def test_a_backend_that_is_full_gets_all_in_order_once_it_has_room(made):
    made.backend.near[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    for at in range(100):
        made.send(struct.pack("<I", at) * 20)
    assert [struct.unpack_from("<I", made.far.recv(1 << 17), 12)[0] for _ in range(100)] == [*range(100)]
    until(lambda: made.link.counts()["sent"] == 100)


def test_frames_that_nobody_takes_wait_outside(made):
    """None is lost, and none comes twice."""
    sent = 0
    made.far.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            made.far.send(PLAIN + struct.pack("<I", sent) * 200)
            sent += 1
    found = []
    while len(found) < sent:
        found.append(struct.unpack_from("<I", made.source.recv(1 << 17), 12)[0])
    assert found == [*range(sent)]
    assert made.link.counts()["crowded"] == 0


def test_all_that_was_sent_has_left_at_the_end(made):
    """The guest may end the run at once."""
    for at in range(100):
        made.send(bytes([at]) * 60)
    with socket.socket(fileno=os.dup(made.far.fileno())) as far:
        made.link.close()
        assert [far.recv(1 << 17)[12] for _ in range(100)] == [*range(100)]


@pytest.mark.parametrize("_", range(8))
def test_what_was_sent_leaves_also_if_the_thread_has_not_gone_on_since_it_was_held(_):
    """It goes on only while this thread waits, or another takes the processor from it."""
    allowed, before = os.sched_getaffinity(0), {*TASKS.iterdir()}
    os.sched_setaffinity(0, {min(allowed)})
    try:
        made = Made()
        for task in {*TASKS.iterdir()} - before:
            os.sched_setscheduler(int(task.name), os.SCHED_IDLE, os.sched_param(0))
        made.link.counts()
        made.send(b"s" * 60)
        with socket.socket(fileno=os.dup(made.far.fileno())) as far:
            made.link.close()
            assert far.recv(1 << 17) == PLAIN + b"s" * 60
    finally:
        os.sched_setaffinity(0, allowed)
        made.close()


def test_frames_to_a_peer_that_is_gone_are_lost(tmp_path):
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "wire"))
    server.listen()
    made = Made(Stream(tmp_path / "wire", listens=False))
    server.accept()[0].close()
    until(lambda: not made.backend.up)
    made.send(b"g" * 60)
    assert made.link.counts()["refused"] == 1
    assert made.link.up
    made.close()
    server.close()


def test_a_capture_has_what_goes_over_the_wire(tmp_path):
    backend = Wire()
    with (tmp_path / "net.pcapng").open("w+b", buffering=0) as file:
        backend.captured(Capture(file.fileno(), "virtio-net0", "52:54:00:12:34:56", 2_000_000, print))
        link = Relayed(OPTIONS, backend)
        with socket.socket(fileno=os.dup(link.source)) as end:
            end.settimeout(20)
            end.send(PLAIN + b"a" * 60)
            assert backend.far[0].recv(1000) == PLAIN + b"a" * 60
            backend.far[0].send(PLAIN + b"b" * 60)
            assert end.recv(1000) == PLAIN + b"b" * 60
        link.close()
    captured = pcapngfile.read(tmp_path / "net.pcapng")
    assert [packet[1:] for packet in captured.packets] == [("out", b"a" * 60), ("in", b"b" * 60)]


def test_a_capture_that_fails_is_reported():
    failed = []
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    backend = Wire()
    backend.captured(Capture(writer, "virtio-net0", "52:54:00:12:34:56", 2_000_000, failed.append))
    link = Relayed(OPTIONS, backend)
    os.close(reader)
    backend.far[0].send(PLAIN + b"c" * 60)
    os.set_blocking(link.trouble, True)
    os.eventfd_read(link.trouble)
    link.look()
    assert failed
    link.close()
    os.close(writer)


def test_a_device_on_a_tap_offers_what_the_tap_can_do():
    alone = Relayed({"tap": "tap0"})
    assert (alone.features, Relayed(OPTIONS).features) == (Tap.features, 0)
    assert alone.features & R.NET_GUEST_TSO4


def test_the_host_is_told_what_the_driver_has_accepted(monkeypatch):
    told = []
    monkeypatch.setattr(Wire, "agree", lambda self, features: told.append(features))
    made = Made()
    made.link.begin(R.NET_GUEST_CSUM)
    assert told == [R.NET_GUEST_CSUM]
    made.close()


def test_a_host_without_room_for_it_is_said(monkeypatch):
    def none(*arguments):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(relay.os, "eventfd", none)
    with pytest.raises(BackendError, match="Too many open files"):
        Relayed(OPTIONS, Wire())


def test_a_backend_without_descriptors_has_no_thread():
    link = Relayed(OPTIONS)
    lib.net_relay_settle(link.net)
    assert link.net.pair[0].fd == -1
    assert lib.net_relay_waiting(link.net, ffi.new("uint32_t *")) == ffi.NULL
    link.close()
    link.close()
