"""Recovery: the trace has everything committed to a ring or whole in the stream, and damage is reported."""

import json
import os
import random
import signal
import struct
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tracer
from tests.fakes.requestfakes import record_of, row_of
from tests.fakes.tracefakes import (
    DEVICES,
    METADATA,
    MUTATIONS,
    TSC_KHZ,
    TSC_START,
    Rings,
    exit_,
    in_time,
    numbered,
    record_all,
    row,
)
from tracer.format.closing import TIME_END
from tracer.format.errors import TraceError
from tracer.read.ringfile import RingFile
from tracer.record.recorder import Recorder
from tracer.record.writer import TableWriter
from vmspec.trace import files
from vmspec.trace.record import DIRECTIONS, HEADER, PAGE, PAUSES, PAUSES_AT, RING_VERSION
from vmspec.trace.requests import REQUESTS

ROOT = Path(__file__).parents[3]


def recovered_rows(path, output=None):
    result = tracer.recover(path, output)
    return in_time(tracer.load(result.path).table.to_pylist()), result


def expected_rows(vcpu, numbers):
    return [row(vcpu, number, numbered(vcpu, number)) for number in numbers]


def fill(path, committed, published, **options):
    """A ring file whose vCPUs have so many records committed, and so many published."""
    rings = Rings(len(published), file=path, **options)
    for vcpu, (tail, head) in enumerate(zip(committed, published, strict=True)):
        for number in range(head):
            if number == tail or not rings.room(vcpu, 48):
                rings.cursor[vcpu] = number
                rings.payload_cursor[vcpu] = rings.get(vcpu, "payload_head")
                rings.commit()
            rings.produce(vcpu, numbered(vcpu, number))
        if tail >= head:
            rings.cursor[vcpu] = head
            rings.payload_cursor[vcpu] = rings.get(vcpu, "payload_head")
            rings.commit()
    rings.memory.flush()
    return rings


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    states=st.lists(st.tuples(st.integers(0, 300), st.integers(0, 64)), min_size=1, max_size=3),
    slots=st.sampled_from([16, 64]),
)
def test_any_state_of_the_rings_is_recovered_exactly(tmp_path, states, slots):
    path = tmp_path / "boot.ring"
    rings = fill(
        path, [tail for tail, _ in states], [tail + more for tail, more in states], slots=slots, payload_size=1024
    )
    rows, result = recovered_rows(path)
    spans = [(rings.get(vcpu, "tail"), rings.get(vcpu, "head")) for vcpu in range(len(states))]
    assert rows == in_time(r for vcpu, (tail, head) in enumerate(spans) for r in expected_rows(vcpu, range(tail, head)))
    assert len(result.problems) == sum(
        tail > 0 for tail, _ in spans
    )  # rows that only a stream would have are reported as lost


def record_part(path, in_stream, in_ring):
    """What a run leaves that is killed with so many rows in the stream, and so many more only in the ring."""
    rings = Rings(1, slots=1024, payload_size=1 << 16, file=path.with_suffix(".ring"))
    recorder = Recorder(path, rings, lambda: METADATA, DEVICES, pytest.fail)
    recorder.start()
    for number in range(in_stream):
        rings.produce(0, numbered(0, number))
    while rings.get(0, "tail") < in_stream:
        time.sleep(0.001)
    rings.drain = lambda buffers: 0  # as if killed
    time.sleep(0.05)
    for number in range(in_stream, in_stream + in_ring):
        rings.produce(0, numbered(0, number))
    return rings


def test_stream_and_ring_are_joined(tmp_path):
    record_part(tmp_path / "boot.arrow", 100, 50)
    rows, result = recovered_rows(tmp_path / "boot.arrow")
    assert rows == expected_rows(0, range(150))
    assert (result.rows_from_stream, result.rows_from_ring, result.problems, result.complete) == (100, 50, (), False)


def test_rows_in_both_stand_once(tmp_path):
    rings = record_part(tmp_path / "boot.arrow", 100, 50)
    rings.set(0, tail=40)  # written, but killed before the commit
    rows, result = recovered_rows(tmp_path / "boot.arrow")
    assert rows == expected_rows(0, range(150))
    assert result.problems == ()


@pytest.mark.parametrize("cut", [1, 9, 100, 3000])
def test_a_stream_cut_within_a_batch_is_completed_from_the_ring(tmp_path, cut):
    rings = record_part(tmp_path / "boot.arrow", 100, 50)
    rings.set(0, tail=0, payload_tail=0)  # not committed, since the batch was not whole
    os.truncate(tmp_path / "boot.arrows", (tmp_path / "boot.arrows").stat().st_size - cut)
    rows, result = recovered_rows(tmp_path / "boot.arrow")
    assert rows == expected_rows(0, range(150))
    assert result.problems == ()


def test_the_stream_alone_is_enough(tmp_path):
    record_part(tmp_path / "boot.arrow", 100, 50)
    (tmp_path / "boot.ring").unlink()
    rows, result = recovered_rows(tmp_path / "boot.arrows")
    assert rows == expected_rows(0, range(100))
    assert result.problems == (f"there is no {tmp_path}/boot.ring: records that were not in the stream yet are lost",)
    assert not tracer.load(result.path).complete


def test_the_ring_alone_has_metadata_and_names(tmp_path):
    fill(tmp_path / "boot.ring", [0], [20])
    _, result = recovered_rows(tmp_path / "boot.ring")
    trace = tracer.load(result.path)
    assert (trace.spec, trace.host, trace.devices) == ({"vm": {"name": "fake"}}, {"kernel": "6.1"}, tuple(DEVICES))


def test_a_ring_without_metadata_still_gives_its_rows(tmp_path):
    rings = fill(tmp_path / "boot.ring", [0], [20])
    struct.pack_into("<Q", rings.memory, 5 * 8, 0)
    rows, result = recovered_rows(tmp_path / "boot.ring")
    assert [r["seq"] for r in rows] == list(range(20))
    assert "before it wrote its metadata" in result.problems[0]


def test_what_neither_has_is_told(tmp_path):
    rings = record_part(tmp_path / "boot.arrow", 100, 50)
    rings.set(0, tail=120, payload_tail=rings.get(0, "payload_tail"))
    rows, result = recovered_rows(tmp_path / "boot.arrow")
    assert len(rows) == 130
    assert result.problems == ("vCPU 0: the 20 records before number 120 are lost",)


def test_a_closed_stream_becomes_the_complete_trace(tmp_path):
    (tmp_path / "boot.arrow").mkdir()
    with pytest.raises(TraceError):
        record_all(tmp_path / "boot.arrow", [[numbered(0, 0)]], summary={"rows": [1]})
    result = tracer.recover(tmp_path / "boot.arrows", tmp_path / "again.arrow")
    assert result.complete
    assert tracer.load(tmp_path / "again.arrow").summary == {"rows": [1]}


def test_recovering_twice_gives_the_same(tmp_path):
    record_part(tmp_path / "boot.arrow", 30, 10)
    tracer.recover(tmp_path / "boot.arrow")
    first = (tmp_path / "boot.arrow").read_bytes()
    tracer.recover(tmp_path / "boot.arrow")
    assert (tmp_path / "boot.arrow").read_bytes() == first


def test_files_of_different_runs_are_not_joined(tmp_path):
    rings = record_part(tmp_path / "boot.arrow", 30, 10)
    struct.pack_into("<Q", rings.memory, 8 * 8, 1234)
    with pytest.raises(TraceError, match="different runs"):
        tracer.recover(tmp_path / "boot.arrow")


def test_nothing_to_recover(tmp_path):
    with pytest.raises(TraceError, match="nothing to recover"):
        tracer.recover(tmp_path / "boot.arrow")


def test_a_run_that_never_started(tmp_path):
    (tmp_path / "boot.ring").write_bytes(bytes(3 * PAGE))
    with pytest.raises(TraceError, match="ended before its guest started"):
        tracer.recover(tmp_path / "boot.ring")


def test_a_live_run_is_left_alone(tmp_path):
    fill(tmp_path / "boot.ring", [0], [20])
    code = "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / "boot.ring"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        with pytest.raises(TraceError, match="another vmrun"):
            tracer.recover(tmp_path / "boot.ring")
        process.stdin.close()


@pytest.mark.parametrize("at", [0, 1, 7])
def test_a_damaged_record_ends_its_ring_and_is_told(tmp_path, at):
    rings = fill(tmp_path / "boot.ring", [0, 0], [20, 20])
    rings.memory[rings.first_ring + PAGE + at * 64 + 60] = 200  # reason of a record of vCPU 0
    rows, result = recovered_rows(tmp_path / "boot.ring")
    assert rows == in_time(expected_rows(0, range(at)) + expected_rows(1, range(20)))
    assert result.problems == (
        f"vCPU 0: record {at} in the ring is damaged or cut off; {20 - at} records are left out",
    )


LATEST = TSC_START + (TIME_END - 1) * TSC_KHZ // 1_000_000  # the last stamp whose time a trace can have


@pytest.mark.parametrize(
    ("fields", "good"),
    [
        ({"tsc_entry": LATEST}, True),
        ({"tsc_entry": LATEST + 1}, False),
        ({"tsc_exit": TSC_START}, True),
        ({"tsc_exit": TSC_START - 1}, False),
        ({"device": len(DEVICES) - 1}, True),
        ({"device": len(DEVICES)}, False),
        ({"device": -1}, True),
        ({"device": -2}, False),
        ({"direction": len(DIRECTIONS) - 1}, True),
        ({"direction": len(DIRECTIONS)}, False),
        ({"data": bytes(20)}, True),
        ({"data": bytes(20), "payload": 0}, False),  # where the payload before it begins
        ({"data": bytes(20), "payload": 19}, False),  # the last byte of that
        ({"data": bytes(20), "payload": 21}, False),  # its own last byte was not published
        ({"data": bytes(20), "length": 0}, False),
    ],
)
def test_a_record_is_believed_within_its_limits(tmp_path, fields, good):
    rings = Rings(1, file=tmp_path / "boot.ring")
    rings.produce(0, exit_(0, data=b"y" * 20))
    made = {"data": b"z", "direction": "write"} | fields
    data, direction = made.pop("data"), made["direction"]
    if direction == "write":
        made["direction"] = DIRECTIONS.index("write")
    values, payload = exit_(1000, data=data)
    rings.produce(0, (values | made, payload))
    rows, result = recovered_rows(tmp_path / "boot.ring")
    assert (len(rows), result.problems == ()) == ((2, True) if good else (1, False))
    assert rows[0]["payload"] == b"y" * 20


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_payload_that_cannot_be_ends_its_ring_after_those_before(tmp_path, at):
    """However short it is: payloads before it are whole, and of those behind it none is taken for another's."""
    rings = Rings(1, file=tmp_path / "boot.ring")
    for number in range(3):
        values, payload = exit_(1000 * number, data=bytes([number]) * 9)
        damage = {"payload": 1000, "length": 3} if number == at else {}
        rings.produce(0, (values | damage, payload))
    rows, result = recovered_rows(tmp_path / "boot.ring")
    assert [row["payload"] for row in rows] == [bytes([number]) * 9 for number in range(at)]
    assert len(result.problems) == 1


def ring_of_pauses(path, pauses, *, begun, seen):
    """A ring file of a vCPU that has begun so many pauses; the newest are in its ring, in ms since the start."""
    rings = Rings(1, file=path)
    ticks = sum(end - begin for begin, end in pauses if end)
    under_way = sum(begin * TSC_KHZ + TSC_START for begin, end in pauses if not end)
    rings.set(0, pauses=begun, paused=(ticks * TSC_KHZ - under_way) % (1 << 64))
    for number, span in enumerate(pauses, begun - len(pauses)):
        stamps = (ms and TSC_START + ms * TSC_KHZ for ms in span)
        struct.pack_into("<QQ", rings.memory, rings.first_ring + PAUSES_AT + number % PAUSES * 16, *stamps)
    at = 8 * [field.name for field in HEADER].index("tsc_seen")
    struct.pack_into("<Q", rings.memory, at, TSC_START + seen * TSC_KHZ)


MANY = [(2 * number + 1, 2 * number + 2) for number in range(PAUSES)]


@pytest.mark.parametrize(
    ("pauses", "begun", "paused", "known"),
    [
        ([], 0, 0, []),
        ([(1, 3), (5, 9)], 2, 6, [(1, 3), (5, 9)]),
        ([(1, 3), (5, 0)], 2, 12, [(1, 3), (5, 15)]),  # under way, until the recorder last looked
        (MANY, PAUSES + 5, PAUSES, MANY),  # the first five were written over
        ([(5, 9), (6, 8), (9, 10)], 3, 7, [(5, 9), (9, 10)]),  # the second cannot be
    ],
)
def test_the_pauses_of_a_ring(tmp_path, pauses, begun, paused, known):
    ring_of_pauses(tmp_path / "boot.ring", pauses, begun=begun, seen=15)
    with RingFile(tmp_path / "boot.ring") as rings:
        ns, spans = rings.paused(rings.rings[0])
    assert (ns, spans) == (paused * 10**6, [[begin * 10**6, end * 10**6] for begin, end in known])


def test_stamps_are_nanoseconds_since_the_start(tmp_path):
    fill(tmp_path / "boot.ring", [0], [20])
    with RingFile(tmp_path / "boot.ring") as rings:
        stamps = (0, TSC_START - 5, TSC_START + TSC_KHZ, TSC_START + 1000 * TSC_KHZ + 1)
        assert [rings.nanoseconds(stamp) for stamp in stamps] == [None, 0, 1_000_000, 1_000_000_000]
        assert rings.path == tmp_path / "boot.ring"
        rings.tsc_khz = 1  # a tick is 1 ms
        assert rings.nanoseconds(TSC_START - 1) == rings.nanoseconds(TSC_START) == 0


def test_what_cannot_be_read_as_a_ring_file_is_told(tmp_path):
    path = tmp_path / "boot.ring"

    def said():
        with pytest.raises(TraceError) as caught:
            RingFile(path)
        return str(caught.value)

    assert said() == f"cannot open {path}: No such file or directory"
    path.mkdir()
    assert said() == f"cannot read {path}: Is a directory"
    path.rmdir()
    for content in (b"", bytes(PAGE), b"x" * PAGE):
        path.write_bytes(content)
        assert said() == f"{path} is not a ring file of vmrun"
    rings = fill(path, [0], [20])
    struct.pack_into("<Q", rings.memory, 8, 77)
    assert said() == (
        f"{path}: ring file version 77, this vmtrace reads {RING_VERSION}: recover it with the release that recorded it"
    )


def test_impossible_counters_leave_out_only_their_ring(tmp_path):
    rings = fill(tmp_path / "boot.ring", [0, 0], [20, 20])
    rings.set(0, head=1 << 63)
    rows, result = recovered_rows(tmp_path / "boot.ring")
    assert rows == expected_rows(1, range(20))
    assert result.problems == ("vCPU 0: the ring's control block is damaged",)


def test_a_ring_that_is_full_to_the_last_byte_is_recovered(tmp_path):
    """As many records as it has slots, and as much payload as it has room for."""
    records = [exit_(1000 * number, data=bytes([number]) * 256) for number in range(16)]
    rings = Rings(slots=16, payload_size=4096, file=tmp_path / "boot.ring")
    for record in records:
        rings.produce(0, record)
    assert not rings.room(0)
    rows, result = recovered_rows(tmp_path / "boot.ring")
    assert (rows, result.problems) == ([row(0, number, record) for number, record in enumerate(records)], ())


def test_a_value_that_its_column_cannot_have_ends_a_ring(tmp_path):
    """A vector has 16 bits in a record and 8 in its column."""
    rings = Rings(slots=16, payload_size=4096, file=tmp_path / "boot.ring")
    for number, vector in enumerate((0, 255, 256, 0)):
        rings.produce(0, exit_(1000 * number, vector=vector))
    rows, result = recovered_rows(tmp_path / "boot.ring")
    assert ([row["vector"] for row in rows], len(result.problems)) == ([0, 255], 1)


def test_a_cut_ring_file_gives_what_it_has(tmp_path):
    rings = fill(tmp_path / "boot.ring", [0, 0], [20, 20])
    os.truncate(tmp_path / "boot.ring", rings.first_ring + PAGE + 10 * 64 + 5)
    _, result = recovered_rows(tmp_path / "boot.ring")
    # Records with a payload need the payload bytes, which come after; record 0 has one.
    assert result.rows_from_ring == 0
    assert len(result.problems) == 2


def test_the_ring_before_which_a_file_ends_is_named(tmp_path):
    rings = fill(tmp_path / "boot.ring", [0, 0], [20, 20])
    os.truncate(tmp_path / "boot.ring", rings.first_ring + rings.ring_size)
    rows, result = recovered_rows(tmp_path / "boot.ring")
    assert (rows, result.problems) == (expected_rows(0, range(20)), ("the file ends before the ring of vCPU 1",))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (1, RING_VERSION + 1),
        (2, 0),
        (2, 1 << 40),
        (3, 63),
        (3, 1 << 62),
        (4, 0),
        (4, 1 << 40),
        (5, 1 << 60),
        (6, 5),
        (7, 1),
        (9, 0),
        (9, 10**9),  # a TSC of 1 THz
    ],
)
def test_a_header_that_makes_no_sense_is_refused(tmp_path, field, value):
    rings = fill(tmp_path / "boot.ring", [0], [20])
    struct.pack_into("<Q", rings.memory, 8 * field, value)
    with pytest.raises(TraceError):
        tracer.recover(tmp_path / "boot.ring")


@pytest.mark.parametrize(
    "metadata", [b"{", b"[]", b"\xff", b'{"metadata": {}, "devices": 3}', b'{"metadata": {"a": 1}, "devices": []}',
                 b'{"metadata": {}, "devices": ["a", "a"]}', b'{"metadata": {}, "devices": ["\\ud800"]}', b"[" * 4000]
)  # fmt: skip
def test_metadata_that_makes_no_sense_is_refused(tmp_path, metadata):
    rings = fill(tmp_path / "boot.ring", [0], [20])
    rings.memory[PAGE : PAGE + len(metadata)] = metadata
    struct.pack_into("<Q", rings.memory, 5 * 8, len(metadata))
    with pytest.raises(TraceError, match="damaged"):
        tracer.recover(tmp_path / "boot.ring")


def mutate(image, rng):
    """Some bytes of an image changed, where it matters most; sometimes cut."""
    image = bytearray(image)
    for _ in range(rng.randint(1, 6)):
        at = rng.choice((rng.randrange(80), rng.randrange(len(image)), 2 * PAGE + rng.randrange(80),
                         3 * PAGE + rng.randrange(20 * 64), PAGE + rng.randrange(200)))  # fmt: skip
        width = rng.choice((1, 1, 2, 4, 8))
        value = rng.choice((0, 1, 255, 1 << 31, (1 << 63) - 1, (1 << 64) - 1, rng.getrandbits(64)))
        image[at : at + width] = value.to_bytes(8, "little")[:width]
    return bytes(image[: rng.randrange(len(image))] if rng.random() < 0.2 else image)


def test_a_mutated_ring_file_is_refused_or_gives_a_readable_trace(tmp_path):
    fill(tmp_path / "good.ring", [0, 5], [20, 30])
    image = (tmp_path / "good.ring").read_bytes()
    rng = random.Random(1)
    outcomes = set()
    for _ in range(MUTATIONS):
        (tmp_path / "boot.ring").write_bytes(mutate(image, rng))
        try:
            _, result = recovered_rows(tmp_path / "boot.ring")
            outcomes.add(bool(result.problems))
        except TraceError:
            outcomes.add("refused")
    assert "refused" in outcomes
    assert True in outcomes


# A run with two vCPU threads in Python, killed from outside.
VICTIM = """
    import sys, threading
    from pathlib import Path
    from tests.fakes.tracefakes import *
    from tracer.record.recorder import Recorder
    path = Path(sys.argv[1])
    rings = Rings(2, slots=1024, payload_size=1 << 16, file=path.with_suffix(".ring"))
    def vcpu(index):
        for number in range(10**9):
            while not rings.room(index, 64):
                rings.wake()
            rings.produce(index, numbered(index, number))
    Recorder(path, rings, lambda: METADATA, DEVICES, print).start()
    threads = [threading.Thread(target=vcpu, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    print(flush=True)
"""


@pytest.mark.parametrize("seconds", [0, 0.2, 0.41, 0.73, 1.01])
def test_after_a_kill_every_committed_record_is_recovered(tmp_path, seconds):
    path = tmp_path / "boot.arrow"
    command = [sys.executable, "-c", textwrap.dedent(VICTIM), str(path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        process.stdout.readline()
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
    rows, result = recovered_rows(path)
    image = path.with_suffix(".ring").read_bytes()
    ring_size = PAGE + 1024 * 64 + (1 << 16)
    heads = [struct.unpack_from("<Q", image, 2 * PAGE + vcpu * ring_size)[0] for vcpu in range(2)]
    assert rows == in_time(r for vcpu, head in enumerate(heads) for r in expected_rows(vcpu, range(head)))
    assert result.problems == ()
    assert json.loads(json.dumps(tracer.load(path).summary))["rows"] == heads


# The requests, a table with a ring of its own


def left(folder, in_stream, in_ring, first=None, **damage):
    """What a run leaves that is killed with so many requests in the stream, and the ring from ``first`` on. The record
    ``damage["at"]`` has other values."""
    path = folder / "boot.arrow"
    total = in_stream + in_ring
    at = damage.pop("at", None)
    records = [record_of(number, **(damage if number == at else {})) for number in range(total)]
    rings = Rings(1, file=path.with_suffix(".ring"), requests=records)
    struct.pack_into("<Q", rings.memory, rings.requests_at + 64, in_stream if first is None else first)  # tail
    struct.pack_into("<Q", rings.memory, rings.requests_at + 24, 2)  # dropped
    if in_stream:
        metadata = {"vmrun.clock": METADATA["vmrun.clock"], "vmrun.devices": json.dumps(DEVICES)}
        writer = TableWriter(path, REQUESTS, metadata)
        for start in range(0, in_stream, 7):
            writer.append([row_of(number) for number in range(start, min(start + 7, in_stream))])
        writer.cut()
    return path


def recovered_requests(path):
    result = tracer.recover(path)
    table = tracer.load(result.path).tables["requests"]
    return sorted(table.table.to_pylist(), key=lambda row: row["seq"]), table, result


@settings(deadline=None, max_examples=30)
@given(in_stream=st.integers(0, 30), in_ring=st.integers(0, 54), both=st.integers(0, 10))
def test_requests_of_stream_and_ring_are_joined(tmp_path_factory, in_stream, in_ring, both):
    """Some of the stream's may be in the ring still: the recorder was killed before it freed their room."""
    path = left(tmp_path_factory.mktemp("run"), in_stream, in_ring, first=max(0, in_stream - both))
    rows, table, result = recovered_requests(path)
    assert rows == [row_of(number) for number in range(in_stream + in_ring)]
    times = table.table["t_done"].to_pylist()
    assert times == sorted(times)
    assert (table.complete, table.summary["dropped"], result.problems) == (False, 2, ())
    assert result.tables == {"requests": in_stream + in_ring}


@pytest.mark.parametrize(
    "damage",
    [{"device": 3}, {"device": -2}, {"kind": 99}, {"status": 3}, {"tsc_taken": 0}, {"tsc_done": TSC_START - 1}],
)
def test_requests_before_a_damaged_one_are_recovered(tmp_path, damage):
    rows, _, result = recovered_requests(left(tmp_path, 3, 9, at=8, **damage))
    assert rows == [row_of(number) for number in range(8)]
    assert result.problems == ("number 8 of the requests in the ring is damaged or cut off; 4 requests are left out",)


def test_requests_that_neither_has_are_told(tmp_path):
    rows, _, result = recovered_requests(left(tmp_path, 3, 9, first=5))
    assert [row["seq"] for row in rows] == [0, 1, 2, *range(5, 12)]
    assert result.problems == ("the 2 requests before number 5 are lost",)


def test_a_damaged_ring_of_requests_is_no_concern_of_the_exits(tmp_path):
    path = left(tmp_path, 4, 3)
    with path.with_suffix(".ring").open("r+b") as file:
        at = file.seek(-PAGE - 64 * 64, os.SEEK_END)
        file.write(b"\xff" * 8)
    rows, _, result = recovered_requests(path)
    assert (len(rows), at > 0) == (4, True)
    assert result.problems == ("requests: the ring's control block is damaged",)


def test_requests_of_another_run_are_not_joined(tmp_path):
    path = left(tmp_path, 4, 3)
    stream = files.table_stream_path(path, "requests")
    writer = TableWriter(path, REQUESTS, {"vmrun.clock": '{"tsc_start": 1}', "vmrun.devices": json.dumps(DEVICES)})
    writer.append([row_of(0)])
    writer.cut()
    result = tracer.recover(path)
    assert result.problems == (
        f"requests could not be recovered: {stream} and {path.with_suffix('.ring')} are of different runs",
    )
