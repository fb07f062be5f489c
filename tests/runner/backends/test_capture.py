"""Captures of frames: what is in the file, and files that cannot be written."""

import errno
import fcntl
import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.backends.capture import Capture, why
from runner.backends.errors import BackendError
from runner.native._native import lib
from tests.fakes import pcapngfile
from tests.fakes.filelimit import at_most

MAC = "52:54:00:12:34:56"
KHZ = 2_000_000
FRAMES = st.lists(st.tuples(st.integers(0, 3000) | st.integers(0, 69632), st.booleans()), max_size=40)


class Made:
    """A capture into a descriptor, and what it has reported."""

    def __init__(self, fd):
        self.failed = []
        self.capture = Capture(fd, "virtio-net0", MAC, KHZ, self.failed.append)

    def frame(self, data, inward):
        lib.capture_frame(self.capture.native, data, len(data), inward)

    def flush(self):
        lib.capture_flush(self.capture.native)


@pytest.fixture
def file(tmp_path):
    with (tmp_path / "net.pcapng").open("w+b", buffering=0) as file:
        yield file


def frames_of(cases):
    return [(bytes([at % 256]) * size, inward) for at, (size, inward) in enumerate(cases)]


def as_packets(captured):
    return [(packet.frame, packet.way == "in") for packet in captured.packets]


@given(cases=FRAMES)
def test_each_frame_is_a_packet(tmp_path_factory, cases):
    path = tmp_path_factory.mktemp("capture") / "net.pcapng"
    with path.open("wb", buffering=0) as file:
        made, before = Made(file.fileno()), time.time_ns()
        for data, inward in frames_of(cases):
            made.frame(data, inward)
        made.capture.close(len(cases), 3)
        made.capture.close(0, 0)
    captured = pcapngfile.read(path)
    assert as_packets(captured) == frames_of(cases)
    assert (captured.interface[2], captured.interface[6]) == (b"virtio-net0", bytes.fromhex("525400123456"))
    assert captured.statistics == {4: len(cases), 5: 3, 7: 0}
    times = [packet.time for packet in captured.packets]
    assert times == sorted(times)
    assert all(at > before - 10**9 for at in times)


def test_a_file_is_whole_after_each_flush(file):
    made = Made(file.fileno())
    for at in range(5):
        made.frame(b"f" * 61, inward=False)
        made.flush()
        file.seek(0)
        assert len(pcapngfile.parsed(file.read()).packets) == at + 1


@given(cases=FRAMES, room=st.integers(200, 100_000), each=st.booleans())
def test_a_file_without_room_ends_with_a_whole_packet(tmp_path_factory, cases, room, each):
    path = tmp_path_factory.mktemp("capture") / "net.pcapng"
    with path.open("wb", buffering=0) as file:
        made = Made(file.fileno())
        with at_most(room):
            for data, inward in frames_of(cases):
                made.frame(data, inward)
                if each:
                    made.flush()
            made.flush()
            made.capture.look()
            made.capture.look()
            failed = bool(made.failed)
            made.capture.close(0, 0)
    captured = pcapngfile.read(path)
    assert made.failed == [errno.EFBIG] * failed
    found = as_packets(captured)
    assert found == frames_of(cases)[: len(found)]
    assert failed or len(found) == len(cases)
    if failed:
        length = sum(44 + size + -size % 4 for size, _ in cases[: len(found) + 1])
        assert captured.statistics is None
        assert length + 100 > room - 100  # no more than the packet that did not fit is missing


def test_a_file_that_takes_nothing_is_said_before_the_guest_runs():
    said = pytest.raises(BackendError, match="cannot write it: No space left on device")
    with open("/dev/full", "wb", buffering=0) as full, said:  # noqa: PTH123
        Made(full.fileno())


@pytest.fixture
def pipe():
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, 4096)
    with open(ends[0], "rb", buffering=0) as reader, open(ends[1], "wb", buffering=0) as writer:  # noqa: PTH123
        yield reader, writer


def test_a_reader_that_is_too_slow_loses_whole_frames_which_are_counted(pipe):
    made = Made(pipe[1].fileno())
    sizes = [60000 + at for at in range(40)]
    for at, size in enumerate(sizes):
        made.frame(bytes([at]) * size, inward=True)
    dropped = made.capture.native.dropped
    data = b""
    while piece := pipe[0].read(1 << 16):  # None: it is empty, as all was written
        data += piece
        made.flush()
    captured = pcapngfile.parsed(data)
    assert len(captured.packets) + dropped == len(sizes)
    assert 0 < dropped < len(sizes)
    assert [packet.frame for packet in captured.packets] == [
        bytes([at]) * size for at, size in enumerate(sizes[: len(captured.packets)])
    ]
    assert made.failed == []


def test_a_reader_that_is_gone_ends_the_capture(pipe):
    made = Made(pipe[1].fileno())
    pipe[0].close()
    made.frame(b"f" * 60, inward=True)
    made.flush()
    made.capture.look()
    assert made.failed == [errno.EPIPE]
    assert why(errno.EPIPE) is None
    assert why(errno.ENOSPC) == "No space left on device"
    made.frame(b"f" * 60, inward=True)
    made.capture.close(1, 0)
