"""Following a trace while it is written: in torn pieces, to its end, to a kill, over damage."""

import fcntl
import os
import threading

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.tracefakes import DEVICES, METADATA, Rings, exit_, numbered, pytest_fail, record_all
from tracer import TraceError, load
from tracer.read import follow as following
from tracer.read.follow import follow
from tracer.record.recorder import Recorder
from tracer.record.stream import StreamWriter


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    monkeypatch.setattr(following, "POLL", 0.001)
    monkeypatch.setattr(following, "QUIET", 0.05)


def stream_of(directory, rows=300):
    """The bytes of a whole stream, its closing summary included, and its rows."""
    path = directory / "made.arrow"
    record_all(path, [[numbered(0, number) for number in range(rows)]], summary={"duration_ns": 7})
    trace = load(path)
    stream = directory / "made.arrows"
    with pa.OSFile(str(stream), "wb") as sink, pa.ipc.new_stream(sink, trace.schema) as writer:
        table = trace.table.combine_chunks()
        for batch in table.to_batches(max_chunksize=70):
            writer.write_batch(batch)
        writer.write_batch(batch.slice(0, 0), custom_metadata={"vmrun.summary": '{"duration_ns": 7}'})
    return stream.read_bytes(), table.to_pylist()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return stream_of(tmp_path_factory.mktemp("made"))


def rows_of(batches):
    return [row for batch in batches for row in batch.to_pylist()]


class Locked:
    """The lock of the ring file that a run holds."""

    def __init__(self, path):
        path.write_bytes(b"")
        self.descriptor = os.open(path, os.O_RDONLY)
        fcntl.flock(self.descriptor, fcntl.LOCK_EX)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        os.close(self.descriptor)


def test_a_writer_thread_that_tears_its_messages(tmp_path, made):
    data, rows = made
    with Locked(tmp_path / "boot.ring"), (tmp_path / "boot.arrows").open("wb", buffering=0) as sink:
        step = threading.Semaphore(0)

        def write():
            for at in range(0, len(data), 997):  # a piece each time the follower has found nothing new
                step.acquire()
                sink.write(data[at : at + 997])

        writer = threading.Thread(target=write)
        writer.start()
        with follow(tmp_path / "boot.arrow") as follower:
            follower.started(wait=lambda seconds: step.release())
            assert follower.devices == tuple(DEVICES)
            assert rows_of(follower.batches(wait=lambda seconds: step.release())) == rows
            assert follower.summary == {"duration_ns": 7}
        writer.join()


@given(st.lists(st.integers(0, 10_000), max_size=6))
def test_cut_anywhere(tmp_path_factory, made, cuts):
    data, rows = made
    path = tmp_path_factory.mktemp("cut") / "boot.arrows"
    places = iter([*sorted({cut % len(data) for cut in cuts}), len(data)])
    with path.open("wb", buffering=0) as sink:

        def more(_):
            if (end := next(places, None)) is not None:
                sink.write(data[sink.tell() : end])

        with follow(path) as follower:
            follower.started(wait=more)
            assert rows_of(follower.batches(wait=more)) == rows
            assert follower.ended


def test_a_real_recorder_that_ends_meanwhile(tmp_path):
    path, rings = tmp_path / "boot.arrow", Rings(1, slots=512)
    recorder = Recorder(path, rings, lambda: METADATA, DEVICES, pytest_fail)
    recorder.start()
    while not (tmp_path / "boot.arrows").exists():
        threading.Event().wait(0.01)
    with Locked(tmp_path / "boot.ring"), follow(path) as follower:
        for number in range(100):
            rings.produce(0, exit_(number))
        follower.started()
        recorder.finish({"duration_ns": 1})
        assert not (tmp_path / "boot.arrows").exists()
        assert [row["seq"] for row in rows_of(follower.batches())] == list(range(100))
        assert follower.summary == {"duration_ns": 1}


def test_a_finished_trace_is_read_to_its_end(tmp_path):
    rows = record_all(tmp_path / "boot.arrow", [[numbered(0, number) for number in range(9)]], summary={"rows": [9]})
    for name in ("boot.arrow", "boot.arrows"):
        with follow(tmp_path / name) as follower:
            follower.started()
            assert rows_of(follower.batches()) == rows
            assert (follower.ended, follower.summary) == (True, {"rows": [9]})


@pytest.mark.parametrize("torn", [0, 5, 400])
def test_a_killed_run_ends_without_a_summary(tmp_path, made, torn):
    data, rows = made
    with pa.BufferReader(data) as source, pa.ipc.open_stream(source) as reader:
        for _ in range(3):
            reader.read_next_batch()
        whole = source.tell()
    (tmp_path / "boot.arrows").write_bytes(data[: whole + torn])
    with follow(tmp_path / "boot.arrows") as follower:
        assert rows_of(follower.batches()) == rows[: 3 * 70]
        assert (follower.ended, follower.summary) == (True, None)


def test_nothing_to_follow(tmp_path):
    with pytest.raises(TraceError, match="cannot open"):
        follow(tmp_path / "boot.arrow")


def test_a_stream_that_nobody_begins(tmp_path):
    (tmp_path / "boot.arrows").write_bytes(b"")
    with follow(tmp_path / "boot.arrow") as follower, pytest.raises(TraceError, match="nobody is writing"):
        follower.started()


@pytest.mark.parametrize("content", [b"not an Arrow stream", b"\xff\xff\xff\xff" + bytes(range(1, 255)) * 9])
def test_what_is_no_stream(tmp_path, content):
    (tmp_path / "boot.arrows").write_bytes(content)
    with follow(tmp_path / "boot.arrows") as follower, pytest.raises(TraceError):
        follower.started()


@given(st.data())
def test_damage_is_an_error_or_rows(tmp_path_factory, made, data):
    content = bytearray(made[0])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "boot.arrows"
    path.write_bytes(content)
    with follow(path) as follower:
        try:
            follower.started()
            for batch in follower.batches():
                batch.to_pylist()
        except TraceError:
            pass


@pytest.mark.parametrize("place", [0.3, 0.5, 0.7, 0.9])
def test_a_flipped_bit_is_told(tmp_path, place):
    record_all(tmp_path / "made.arrow", [[numbered(0, number) for number in range(300)]])
    trace = load(tmp_path / "made.arrow")
    writer = StreamWriter(tmp_path / "boot.arrows", trace.schema)
    for batch in trace.table.combine_chunks().to_batches(max_chunksize=70):
        writer.write(batch)
    writer.close()
    data = bytearray((tmp_path / "boot.arrows").read_bytes())
    data[int(len(data) * place)] ^= 8
    (tmp_path / "boot.arrows").write_bytes(data)
    with follow(tmp_path / "boot.arrows") as follower, pytest.raises(TraceError, match="is damaged: at byte"):
        for _ in follower.batches():
            pass
