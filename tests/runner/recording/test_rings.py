import os
import select
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.native import _native
from runner.recording.rings import FLIGHT_SLOTS, Rings
from runner.recording.source import RingSource, begun
from tracer.format.schema import STORED
from tracer.read.ringfile import RingFile, columns
from tracer.record.buffers import Buffers
from vmspec.trace.files import RingLostError
from vmspec.trace.record import COLUMNS, EXITS, FLAGS, PAGE, PAUSES, RECORD

ffi, lib = _native.ffi, _native.lib
SLOTS = 64  # the smallest ring; its payload ring is one page
NO_DEVICES = lib.bus_new(0, 0, -1)


@pytest.fixture
def open_rings(tmp_path):
    opened = []

    def make(vcpus=1, slots=SLOTS, full="wait", path=tmp_path / "test.ring"):
        opened.append(Both(vcpus, slots, full, path))
        return opened[-1]

    yield make
    for rings in opened:
        rings.source.close()
        rings.close()


class Both(Rings):
    """The VMM's side of rings, and the recorder's, ``source``, on a mapping of its own."""

    def __init__(self, vcpus, slots, full, path):
        super().__init__(vcpus, slots, full, path)
        self.start(1_000_000)
        self.source = RingSource(*self.descriptors, path)


def record(ring, count):
    """Record ``count`` exits of one byte; their data are numbers from 0, modulo 256."""
    lib.ring_benchmark(ring, ffi.new("uint32_t[]", max(count, 1)), count)


def drain(rings, rows=32768, payload=1 << 20):
    """The next rows as dictionaries, not committed."""
    buffers = Buffers(EXITS, rows, payload)
    return rows_of(buffers, rings.source.drain(buffers))


def rows_of(buffers, count):
    ends = memoryview(buffers.columns["payload"]).cast("i")
    found = []
    for row in range(count):
        values = {"payload": bytes(buffers.payload[ends[row] : ends[row + 1]])}
        for column in COLUMNS:
            if column.name != "payload":
                width = STORED[column.type][1]
                raw = buffers.columns[column.name][row * width : (row + 1) * width]
                values[column.name] = int.from_bytes(raw, "little", signed=column.type == "int64")
        found.append(values)
    return found


def data(rows):
    return [row["data"] for row in rows]


def eventually(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


# Fill, drain, commit


def test_records_come_out_as_they_went_in(open_rings):
    rings = open_rings()
    record(rings.ring(0), 3)
    assert data(drain(rings)) == [0, 1, 2]


def test_a_row(open_rings):
    rings = open_rings()
    record(rings.ring(0), 1)
    [row] = drain(rings)
    assert 0 <= row.pop("t_exit") <= row.pop("t_entry")
    assert {name: value for name, value in row.items() if value} == {
        "reason": 2, "addr": 0x3F8, "size": 1, "count": 1, "direction": 2,
    }  # fmt: skip


def test_nothing_is_drained_twice(open_rings):
    rings = open_rings()
    record(rings.ring(0), 3)
    drain(rings)
    assert drain(rings) == []


def test_a_drain_stops_when_its_rows_are_full(open_rings):
    rings = open_rings()
    record(rings.ring(0), 5)
    assert [len(drain(rings, rows=2)) for _ in range(4)] == [2, 2, 1, 0]


def test_the_ring_goes_round(open_rings):
    rings = open_rings()
    numbers = []
    for _ in range(5):
        record(rings.ring(0), 50)
        numbers += [row["seq"] for row in drain(rings)]
        rings.source.commit()
    assert numbers == list(range(250))


def test_a_full_ring_is_full_until_it_is_committed(open_rings):
    rings = open_rings(full="drop")
    record(rings.ring(0), SLOTS)
    drain(rings)
    record(rings.ring(0), 1)
    assert rings.counters("dropped") == [1]


def test_times_count_from_the_start(open_rings):
    rings = open_rings()  # 1 GHz: a cycle is a nanosecond
    record(rings.ring(0), 1)
    slot = rings.ring(0).slots[0]
    [row] = drain(rings)
    start = rings.clock()["tsc_start"]
    assert (row["t_exit"], row["t_entry"]) == (slot.tsc_exit - start, slot.tsc_entry - start)


# Payloads


def payload(number):
    """Bytes that tell the record they belong to; lengths that meet every place of the payload ring's end."""
    return (number % 251).to_bytes(1, "little") * (9 + number * 37 % 300)


def test_payloads_go_round(open_rings, make_loop):
    rings = open_rings()
    loop = make_loop(NO_DEVICES, rings.ring(0))
    sent, got = [], []
    for number in range(400):  # 16 rounds of the 4 KiB
        sent.append(payload(number))
        loop.io(0x10, 1, sent[-1], write=True)
        if number % 8 == 7:
            got += [row["payload"] for row in drain(rings)]
            rings.source.commit()
    assert got == sent


def test_a_payload_may_fill_the_payload_ring(open_rings, make_loop):
    rings = open_rings()
    loop = make_loop(NO_DEVICES, rings.ring(0))
    for fill in (b"a", b"b"):
        loop.io(0x10, 1, fill * PAGE, write=True)
        assert [row["payload"] for row in drain(rings)] == [fill * PAGE]
        rings.source.commit()


def test_a_drain_stops_when_its_payload_is_full(open_rings, make_loop):
    rings = open_rings()
    loop = make_loop(NO_DEVICES, rings.ring(0))
    for _ in range(3):
        loop.io(0x10, 1, b"x" * 100, write=True)
    assert [len(drain(rings, payload=200)) for _ in range(3)] == [2, 1, 0]


def test_a_full_payload_ring_drops_the_exit(open_rings, make_loop):
    rings = open_rings(full="drop")
    loop = make_loop(NO_DEVICES, rings.ring(0))
    loop.io(0x10, 1, b"x" * 4000, write=True)
    loop.io(0x10, 1, b"y" * 97, write=True)
    loop.io(0x10, 1, b"z", write=True)
    assert [(row["payload"][:1], row["data"] & 0xFF, row["flags"] & FLAGS["GAP"]) for row in drain(rings)] == [
        (b"x", ord("x"), 0),
        (b"", ord("z"), FLAGS["GAP"]),
    ]


# A full ring: drop


def test_dropped_exits_are_counted(open_rings):
    rings = open_rings(full="drop")
    record(rings.ring(0), SLOTS + 10)
    assert (rings.counters("head"), rings.counters("dropped")) == ([SLOTS], [10])


def test_the_oldest_exits_stay_when_others_are_dropped(open_rings):
    rings = open_rings(full="drop")
    record(rings.ring(0), SLOTS + 10)
    assert data(drain(rings)) == list(range(SLOTS))


def test_the_first_record_after_a_drop_says_so(open_rings):
    rings = open_rings(full="drop")
    record(rings.ring(0), SLOTS + 10)
    drain(rings)
    rings.source.commit()
    record(rings.ring(0), 2)
    assert [row["flags"] for row in drain(rings)] == [FLAGS["GAP"], 0]


def test_numbers_have_no_holes_where_exits_were_dropped(open_rings):
    rings = open_rings(full="drop")
    record(rings.ring(0), SLOTS + 10)
    drain(rings)
    rings.source.commit()
    record(rings.ring(0), 1)
    assert [row["seq"] for row in drain(rings)] == [SLOTS]


# A full ring: wait


@pytest.fixture
def waiting(open_rings):
    """A ring of whose records the producer, a thread, could not write the last ten; (rings, thread)."""
    rings = open_rings()
    producer = threading.Thread(target=record, args=(rings.ring(0), SLOTS + 10))
    producer.start()
    eventually(lambda: rings.counters("waits") == [1])
    yield rings, producer
    rings.abandon()
    producer.join()


def test_a_full_ring_stops_its_producer(waiting):
    rings, producer = waiting
    time.sleep(0.05)
    assert (producer.is_alive(), rings.counters("head")) == (True, [SLOTS])


def test_the_producer_goes_on_when_there_is_room(waiting):
    rings, producer = waiting
    rows = drain(rings)
    rings.source.commit()
    producer.join(20)
    assert data(rows + drain(rings)) == list(range(SLOTS + 10))


def test_draining_alone_makes_no_room(waiting):
    rings, producer = waiting
    drain(rings)
    time.sleep(0.05)
    assert producer.is_alive()


def test_nothing_is_dropped_by_waiting(waiting):
    rings, producer = waiting
    drain(rings)
    rings.source.commit()
    producer.join(20)
    assert rings.counters("dropped") == [0]


def test_a_producer_does_not_wait_for_a_recorder_that_failed(waiting):
    rings, producer = waiting
    rings.abandon()
    producer.join(20)
    assert (producer.is_alive(), rings.counters("dropped")) == (False, [10])


def test_a_waiting_producer_wakes_the_consumer(waiting):
    rings, _ = waiting
    begin = time.monotonic()
    rings.source.wait(20)
    assert time.monotonic() - begin < 10


def test_a_quarter_of_the_ring_wakes_the_consumer(open_rings):
    rings = open_rings()
    record(rings.ring(0), SLOTS // 4)
    begin = time.monotonic()
    rings.source.wait(20)
    assert time.monotonic() - begin < 10


def test_a_few_records_do_not_wake_the_consumer(open_rings):
    rings = open_rings()
    record(rings.ring(0), SLOTS // 4 - 1)
    begin = time.monotonic()
    rings.source.wait(0.05)
    assert time.monotonic() - begin >= 0.05


def test_wake(open_rings):
    rings = open_rings()
    rings.source.wake()
    begin = time.monotonic()
    rings.source.wait(20)
    assert time.monotonic() - begin < 10


# Several rings


def test_rows_of_several_rings_come_in_the_order_of_t_exit(open_rings):
    rings = open_rings(vcpus=3)
    for vcpu in (2, 0, 1, 0, 2):
        record(rings.ring(vcpu), 5)
    assert [row["vcpu"] for row in drain(rings)] == [2] * 5 + [0] * 5 + [1] * 5 + [0] * 5 + [2] * 5


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 20)), max_size=12))
def test_any_order_of_writing_is_merged(tmp_path_factory, pieces):
    rings = Both(3, 256, "wait", tmp_path_factory.mktemp("merged") / "test.ring")
    for ring, count in pieces:
        record(rings.ring(ring), count)
    times = [row["t_exit"] for row in drain(rings)]
    heads = rings.counters("head")
    rings.source.close()
    rings.close()
    rings.path.unlink()
    assert (times, len(times)) == (sorted(times), sum(heads))


@pytest.fixture
def slow_device(open_rings, make_loop):
    """Two rings; a device on vCPU 0 is being asked and takes its time. (rings, loop of vCPU 0)"""
    event = os.eventfd(0)
    bus = lib.bus_new(1, 1, event)
    assert lib.bus_remap(bus, [(0x20, 0x21, 0)], 1, 0)
    rings = open_rings(vcpus=2)
    slow = make_loop(bus, rings.ring(0))
    assert slow.io(0x20, 1, b"a", write=True)
    yield rings, slow
    lib.bus_free(bus)
    os.close(event)


def test_records_after_an_exit_that_is_being_handled_wait_for_it(slow_device):
    rings, slow = slow_device
    record(rings.ring(1), 2)
    before = drain(rings)
    slow.go_on()
    assert (before, [row["vcpu"] for row in drain(rings)]) == ([], [0, 1, 1])


def test_a_slow_device_on_one_vcpu_does_not_stop_another(slow_device):
    rings, _ = slow_device
    record(rings.ring(1), SLOTS // 2 + 1)
    assert len(drain(rings)) == SLOTS // 2 + 1


def test_nor_when_it_is_the_payload_ring_that_fills(slow_device, make_loop):
    rings, _ = slow_device
    make_loop(NO_DEVICES, rings.ring(1)).io(0x10, 1, b"x" * (PAGE // 2 + 1), write=True)
    assert len(drain(rings)) == 1


# Without a recorder


def test_the_flight_ring_keeps_the_newest():
    rings = Rings(1, SLOTS, "wait", None)
    rings.start(1_000_000)
    record(rings.ring(0), 3 * FLIGHT_SLOTS + 5)
    newest = [row["data"] for row in rings.last(0, FLIGHT_SLOTS)]
    rings.close()
    total = 3 * FLIGHT_SLOTS + 5
    assert newest == [number % 256 for number in range(total - FLIGHT_SLOTS, total)]


def test_the_flight_ring_takes_payloads_for_ever(make_loop):
    rings = Rings(1, SLOTS, "wait", None)
    rings.start(1_000_000)
    loop = make_loop(NO_DEVICES, rings.ring(0))
    for number in range(200):
        loop.io(number, 1, b"x" * 500, write=True)
    newest = [row["addr"] for row in rings.last(0, 3)]
    rings.close()
    assert newest == [197, 198, 199]


def test_last_gives_what_there_is(open_rings):
    rings = open_rings()
    record(rings.ring(0), 2)
    assert [(row["seq"], row["data"]) for row in rings.last(0, 16)] == [(0, 0), (1, 1)]


# The file


def test_the_ring_file_as_its_reader_sees_it(open_rings, make_loop, tmp_path):
    rings = open_rings(vcpus=2)
    rings.describe(b'{"metadata": {"vmrun.host": "{}"}, "devices": ["serial0"]}')
    record(rings.ring(0), 70 - SLOTS)
    make_loop(NO_DEVICES, rings.ring(1)).io(0x10, 1, b"payload of one record", write=True)
    with RingFile(tmp_path / "test.ring") as file:
        heads = [ring.control["head"] for ring in file.rings]
        [(_, raw)] = file.records(file.rings[1], 0, 1)
        record_1 = {name: view[0] for name, view in columns(RECORD, raw).items()}
        text = file.payload(file.rings[1], record_1["payload"], record_1["length"])
        found = (file.metadata, file.problems, heads, text)
    metadata = {"vmrun.host": "{}", "vmrun.devices": '["serial0"]'}
    assert found == (metadata, [], [70 - SLOTS, 1], b"payload of one record")


def test_the_ring_file_has_all_its_room_from_the_start(open_rings, tmp_path):
    open_rings()
    status = (tmp_path / "test.ring").stat()
    assert status.st_blocks * 512 >= status.st_size


def test_a_ring_file_is_locked(open_rings):
    open_rings()
    with pytest.raises(BlockingIOError):
        open_rings()


def test_closing_leaves_the_file_and_no_descriptor(tmp_path, descriptors):
    before = descriptors()
    rings = Rings(1, SLOTS, "wait", tmp_path / "test.ring")
    rings.close()
    assert (descriptors(), (tmp_path / "test.ring").exists()) == (before, True)


NO_ROOM = """
import errno, os, sys
from pathlib import Path
from runner.recording.rings import Rings
descriptors = len(os.listdir("/proc/self/fd"))
try:
    Rings(1, 65536, "wait", Path(sys.argv[1], "test.ring"))
except OSError as error:
    assert error.errno == errno.ENOSPC, error
    assert os.listdir(sys.argv[1]) == []
    assert len(os.listdir("/proc/self/fd")) == descriptors
    print("no room")
"""


def test_no_room_for_the_ring_file(tmp_path):
    """A file system of 1 MiB in a mount namespace of its own."""
    script = 'mount -t tmpfs -o size=1m none "$0" && exec "$@"'
    command = ["unshare", "--mount", "--map-root-user", "sh", "-c", script, tmp_path, sys.executable, "-c", NO_ROOM]
    root = Path(__file__).parents[3]
    done = subprocess.run([*command, tmp_path], capture_output=True, text=True, check=False, cwd=root)
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no mount namespace here: {done.stderr.strip()}")
    assert (done.stdout, done.stderr) == ("no room\n", "")


def stand(rings, count, vcpu=0):
    """Pauses of one tick each, at even ticks from 1000 on."""
    for tick in range(1000, 1000 + 2 * count, 2):
        lib.ring_pause(rings.ring(vcpu), tick)
        lib.ring_resume(rings.ring(vcpu), tick + 1)


def test_the_first_exit_after_a_pause_says_so(open_rings):
    rings = open_rings()
    record(rings.ring(0), 1)
    stand(rings, 2)
    record(rings.ring(0), 2)
    assert [bool(row["flags"] & FLAGS["PAUSED"]) for row in drain(rings)] == [False, True, False]


def test_every_pause_is_kept_that_the_recorder_has_looked_at(open_rings):
    """However many, and of each vCPU."""
    rings = open_rings(2)
    for _ in range(3):
        stand(rings, PAUSES - 1, vcpu=1)
        assert drain(rings) == []
    account = rings.source.account()
    assert [len(spans) for spans in account["pauses_ns"]] == [0, 3 * (PAUSES - 1)]
    assert rings.source.pauses.known()[1][:2] == [(1000, 1001), (1002, 1003)]


def test_pauses_beyond_the_room_count_as_time(open_rings):
    rings = open_rings()
    stand(rings, PAUSES + 100)
    assert len(rings.source.pauses.known()[0]) == PAUSES
    assert rings.source.pauses.known()[0][0] == (1200, 1201)
    assert rings.counters("paused") == [PAUSES + 100]


def test_very_many_pauses_are_counted_but_not_kept(open_rings, monkeypatch):
    monkeypatch.setattr("runner.recording.pauses.KEPT", 10)
    rings = open_rings(2)
    stand(rings, 100)
    assert [len(spans) for spans in rings.source.pauses.known()] == [5, 0]


def test_a_pause_under_way_has_no_end(open_rings):
    rings = open_rings()
    stand(rings, 1)
    lib.ring_pause(rings.ring(0), 5000)
    assert rings.pauses.known() == rings.source.pauses.known() == [[(1000, 1001), (5000, 0)]]
    lib.ring_resume(rings.ring(0), 6000)
    assert rings.pauses.known() == [[(1000, 1001), (5000, 6000)]]


def test_a_recorder_is_woken_before_pauses_are_lost(open_rings):
    rings = open_rings()
    woken = select.poll()
    woken.register(rings.descriptors[1], select.POLLIN)
    stand(rings, PAUSES // 4 - 1)
    assert woken.poll(0) == []
    stand(rings, 1)
    assert woken.poll(0) != []


def test_a_file_without_a_header_yet_has_not_begun(tmp_path):
    path = tmp_path / "test.ring"
    rings = Rings(1, SLOTS, "wait", path)
    try:
        assert not begun(rings.descriptors[0], path)
        rings.start(1_000_000)
        assert begun(rings.descriptors[0], path)
    finally:
        rings.close()


@pytest.mark.parametrize("size", [0, 1, PAGE - 1])
def test_a_file_truncated_before_the_recorder_looks_is_lost(tmp_path, size):
    path = tmp_path / "test.ring"
    rings = Rings(1, SLOTS, "wait", path)
    try:
        os.truncate(path, size)
        with pytest.raises(RingLostError, match="was truncated while the guest ran"):
            begun(rings.descriptors[0], path)
    finally:
        rings.close()
