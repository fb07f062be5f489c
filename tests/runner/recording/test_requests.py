"""The ring of requests: its producers in C, and the recorder's side."""

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.native._native import ffi, lib
from runner.recording.requests import Requests
from runner.recording.rings import Rings
from runner.recording.source import RingSource
from tracer.format.schema import STORED
from tracer.record.buffers import Buffers
from vmspec.trace.requests import COLUMNS, KINDS, REQUESTS, STATUSES

SLOTS = 64


class Both:
    """Where queues record, and the recorder's source, on a mapping of its own."""

    def __init__(self, path, full="wait"):
        self.rings = Rings(1, SLOTS, full, path, requests=True)
        self.rings.start(1_000_000)
        self.start = self.rings.clock()["tsc_start"]
        self.requests = Requests()
        self.rings.record(self.requests)
        file, event, own = self.rings.descriptors
        self.exits = RingSource(file, event, path)
        self.source = self.exits.requests(own)

    def close(self):
        self.exits.close()
        self.rings.close()

    def record(self, done=0, written=0, device=0, queue=0, **fields):
        """Record a chain, its times in ns."""
        chain = ffi.new("struct virtqueue_chain *", {"length": lib.VIRTQUEUE_MOVED})
        for name, value in fields.items():
            setattr(chain, name, value + self.start if name.startswith("t_") else value)
        lib.requests_record(self.requests.native, chain, device, queue, written, self.start + done)

    def drain(self, rows=1000):
        """The next rows, not committed."""
        buffers = Buffers(REQUESTS, rows)
        count = self.source.drain(buffers)
        found = []
        for row in range(count):
            values = {}
            for column in COLUMNS:
                width = STORED[column.type][1]
                raw = buffers.columns[column.name][row * width : (row + 1) * width]
                values[column.name] = int.from_bytes(raw, "little", signed=column.type.startswith("int"))
            found.append(values)
        return found


@pytest.fixture
def open_requests(tmp_path):
    opened = []

    def make(full="wait"):
        opened.append(Both(tmp_path / "test.ring", full))
        return opened[-1]

    yield make
    for both in opened:
        both.close()


def test_a_row_is_what_the_device_and_the_walker_have_set(open_requests):
    both = open_requests()
    both.record(
        done=30, written=513, device=4, queue=2, t_available=10, t_taken=20, position=1 << 40, length=512, head=7,
        kind=lib.REQUEST_READ, status=lib.REQUEST_UNSUPPORTED, readable=16, writable=600, n_readable=1, n_writable=2,
    )  # fmt: skip
    assert both.drain() == [
        {"seq": 0, "device": 5, "queue": 2, "head": 7, "kind": 1, "position": 1 << 40, "length": 512, "bytes_out": 16,
         "bytes_in": 513, "room": 600, "buffers": 3, "status": 2, "t_available": 10, "t_taken": 20, "t_done": 30}
    ]  # fmt: skip


def test_a_device_that_says_no_length_has_moved_all_that_it_is_about(open_requests):
    both = open_requests()
    both.record(written=5, readable=7)
    both.record(written=5, readable=7, length=0)
    assert [row["length"] for row in both.drain()] == [12, 0]


def test_codes_of_c_are_the_names_of_the_table(open_requests):
    for names in (KINDS, STATUSES):
        codes = [getattr(lib, f"REQUEST_{name.upper().replace('-', '_')}") for name in names]
        assert codes == list(range(len(names)))


@pytest.mark.parametrize(("kind", "status"), [(len(KINDS), 1), (255, len(STATUSES)), (0, 255)])
def test_a_code_that_there_is_not_becomes_one_that_there_is(open_requests, kind, status):
    both = open_requests()
    both.record(kind=kind, status=status)
    assert [(row["kind"], row["status"]) for row in both.drain()] == [(0, 1)]


def test_rows_come_in_the_order_in_which_the_requests_were_done(open_requests):
    both = open_requests()
    for done in (3, 1, 2, 2, 9, 4):
        both.record(done=done)
    rows = both.drain()
    assert [row["t_done"] for row in rows] == [1, 2, 2, 3, 4, 9]
    assert sorted(row["seq"] for row in rows) == list(range(6))


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 9), st.booleans()), max_size=20))
def test_what_is_drained_is_what_was_recorded(tmp_path_factory, steps):
    """Each step records, drains at most so many rows, and may commit."""
    both = Both(tmp_path_factory.mktemp("rings") / "test.ring", "drop")
    try:
        recorded, found, used = 0, [], 0
        for count, rows, commit in steps:
            for _ in range(count):
                both.record(done=recorded + used)
                recorded += 1
            found += [row["seq"] for row in both.drain(rows)]
            if commit:
                both.source.commit()
        while rows := both.drain(7):
            found += [row["seq"] for row in rows]
        assert found == list(range(recorded - both.source.dropped))
    finally:
        both.close()


def test_a_full_ring_drops_and_counts(open_requests):
    both = open_requests("drop")
    for _ in range(SLOTS + 3):
        both.record()
    assert (len(both.drain()), both.source.dropped) == (SLOTS, 3)
    both.source.commit()
    both.record()
    assert [row["seq"] for row in both.drain()] == [SLOTS]


def eventually(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_many_threads_record_and_wait_for_room(open_requests):
    both = open_requests()
    each, threads = 5 * SLOTS, 4

    def produce(device):
        for done in range(each):
            both.record(done=done, device=device)

    started = [threading.Thread(target=produce, args=(device,)) for device in range(threads)]
    for thread in started:
        thread.start()
    eventually(lambda: both.rings.requests_wait)
    rows = []
    while len(rows) < threads * each:
        rows += both.drain(16)
        both.source.commit()
    for thread in started:
        thread.join()
    assert [row["seq"] for row in sorted(rows, key=lambda row: row["seq"])] == list(range(threads * each))
    for device in range(threads):
        of_device = [row for row in sorted(rows, key=lambda row: row["seq"]) if row["device"] == device + 1]
        assert [row["t_done"] for row in of_device] == list(range(each))


def test_nobody_waits_for_a_recorder_that_has_gone(open_requests):
    both = open_requests()
    thread = threading.Thread(target=lambda: [both.record() for _ in range(SLOTS + 2)])
    thread.start()
    eventually(lambda: both.rings.requests_wait)
    both.rings.abandon()
    thread.join()
    assert both.source.dropped == 2


def test_a_quarter_full_ring_wakes_the_recorder(open_requests):
    both = open_requests()
    thread = threading.Thread(target=both.source.wait, args=(60,))
    thread.start()
    for _ in range(SLOTS // 4):
        both.record()
    thread.join(30)
    assert not thread.is_alive()


def test_without_a_ring_nothing_is_recorded(tmp_path):
    rings = Rings(1, SLOTS, "wait", tmp_path / "test.ring")
    try:
        requests = Requests()
        rings.record(requests)
        lib.requests_record(requests.native, ffi.new("struct virtqueue_chain *"), 0, 0, 0, 0)
        requests.abandon()
        assert (requests.waiting, len(rings.descriptors)) == (False, 2)
    finally:
        rings.close()
