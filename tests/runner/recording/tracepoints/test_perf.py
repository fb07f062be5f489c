"""Perf rings that no kernel wrote: decoding, wrap-around, losses, order, damage."""

import struct
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.native import _native
from runner.recording.columns import Columns
from tracer.record.buffers import Buffers
from vmspec.trace.tracepoints import EXIT_NAMES, SLOTS, TRACEPOINTS

ffi, lib = _native.ffi, _native.lib

PAGE, SIZE = 4096, 4096
# perf_event_mmap_page (linux/perf_event.h): data_head and data_tail begin a page's second KiB.
HEAD, TAIL = 1024, 1032
LOST, SAMPLE = 2, 9
EXIT, PIO = 700, 701  # common_type


class Row(NamedTuple):
    vcpu: int
    t: int
    event: int
    reason: int
    exit: str
    rip: int
    a: int
    b: int


def raw_exit(reason, rip, isa):
    return struct.pack("<HHIIIQI", EXIT, 0, 0, reason, 0, rip, isa) + bytes(4)


def raw_pio(port, value):
    return struct.pack("<HHIIi", PIO, 0, 0, port, value)


class Kernel:
    """Rings with a kernel's part in the test's hands; events at 1,000 ns of perf's clock are at t = 0."""

    def __init__(self, rings=1, isa=0):
        self.pages = [bytearray(PAGE + SIZE) for _ in range(rings)]
        self.views = [ffi.from_buffer(page) for page in self.pages]
        self.rings = ffi.new("struct perf_ring[]", rings)
        self.heads = [0] * rings
        for vcpu, view in enumerate(self.views):
            lib.perf_ring_init(ffi.addressof(self.rings, vcpu), view, SIZE, vcpu)
        self.formats = ffi.new("struct perf_format[2]")
        self._format(0, EXIT, 1, [(8, 4, 0, "reason"), (16, 8, 0, "rip"), (24, 4, 0, "isa")])
        self._format(1, PIO, 0, [(8, 4, 0, "a"), (12, 4, 1, "b")])
        self.clock = ffi.new("struct perf_clock *", {"raw": [1000, 1_000_000], "t": [0, 999_000]})
        self.tables = [ffi.new("int16_t[]", values) for values in ([2, 3], [4, 5], [6])]
        self.names = ffi.new("struct perf_names *", {
            "vmx": self.tables[0], "svm": self.tables[1], "user": self.tables[2],
            "n_vmx": 2, "n_svm": 2, "n_user": 1, "svm_err": 7, "unknown": 1, "isa": isa,
        })  # fmt: skip

    def _format(self, index, number, names, fields):
        form = self.formats[index]
        form.id, form.code, form.names, form.n_fields = number, index, names, len(fields)
        for to, (offset, size, signed, slot) in zip(form.fields, fields, strict=False):
            to.offset, to.size, to.is_signed, to.slot = offset, size, signed, SLOTS.index(slot)

    def put(self, record, ring=0):
        page, head = self.pages[ring], self.heads[ring]
        for offset, byte in enumerate(record):
            page[PAGE + (head + offset) % SIZE] = byte
        self.heads[ring] = head + len(record)
        page[HEAD : HEAD + 8] = self.heads[ring].to_bytes(8, "little")

    def sample(self, time, raw, ring=0, cpu=3):
        body = struct.pack("<QIII", time, cpu, 0, len(raw)) + raw
        body += bytes(-(len(body) + 8) % 8)
        self.put(struct.pack("<IHH", SAMPLE, 0, 8 + len(body)) + body, ring)

    def lose(self, number, ring=0):
        self.put(struct.pack("<IHHQQ", LOST, 0, 24, 0, number), ring)

    def drain(self, rows=64):
        buffers = Buffers(TRACEPOINTS, rows)
        with Columns(ffi.new("struct tracepoints_columns *")).of(buffers) as columns:
            count = lib.perf_drain(self.rings, len(self.pages), self.formats, 2, self.clock, self.names, columns)
            names = [EXIT_NAMES[columns.exit[n]] for n in range(count)]
            taken = [getattr(columns, name)[0:count] for name in Row._fields if name != "exit"]
            return [Row(*(c[n] for c in taken[:4]), names[n], *(c[n] for c in taken[4:])) for n in range(count)]

    def tail(self, ring=0):
        return int.from_bytes(self.pages[ring][TAIL : TAIL + 8], "little")


def test_an_exit():
    kernel = Kernel()
    kernel.sample(1500, raw_exit(1, 0xFFFFFFFF81000000, 2))
    assert kernel.drain() == [Row(0, 500, 0, 1, EXIT_NAMES[5], 0xFFFFFFFF81000000, 0, 0)]


@pytest.mark.parametrize(
    ("isa", "reason", "name"),
    [(1, 1, 3), (1, 0x80000001, 3), (1, 2, 1), (2, 0, 4), (2, 0xFFFFFFFF, 7), (2, 2, 1), (3, 0, 1), (0, 0, 1)],
)
def test_an_exit_has_its_extensions_name_or_none(isa, reason, name):
    kernel = Kernel()
    kernel.sample(1500, raw_exit(reason, 0, isa))
    assert [(row.reason, row.exit) for row in kernel.drain()] == [(reason, EXIT_NAMES[name])]


def test_a_kernel_that_does_not_tell_the_extension():
    kernel = Kernel(isa=2)
    kernel.sample(1500, raw_exit(1, 0, 0))
    assert kernel.drain()[0].exit == EXIT_NAMES[5]


def test_an_event_without_a_reason_and_a_signed_field():
    kernel = Kernel()
    kernel.sample(1500, raw_pio(0x3F8, -4))
    assert kernel.drain() == [Row(0, 500, 1, 0, "-", 0, 0x3F8, (1 << 64) - 4)]


def test_the_ring_goes_round():
    kernel = Kernel()
    seen = []
    for number in range(500):
        kernel.sample(1000 + number, raw_pio(number, 0))
        if number % 7 == 6:
            seen += [row.a for row in kernel.drain()]
    assert (seen + [row.a for row in kernel.drain()], kernel.tail()) == (list(range(500)), kernel.heads[0])


def test_a_drain_stops_when_its_rows_are_full():
    kernel = Kernel()
    for number in range(5):
        kernel.sample(1000 + number, raw_pio(number, 0))
    assert [len(kernel.drain(2)) for _ in range(4)] == [2, 2, 1, 0]


def test_samples_are_counted_and_other_records_passed_over():
    kernel = Kernel()
    kernel.lose(7)
    kernel.sample(1500, raw_pio(1, 0))
    kernel.lose(3)
    kernel.sample(1501, b"")  # no format describes it
    assert ([row.a for row in kernel.drain()], kernel.rings[0].samples, kernel.rings[0].unknown) == ([1], 2, 1)


def test_rings_are_merged_in_the_order_of_time():
    kernel = Kernel(rings=3)
    for time, ring in ((1001, 1), (1003, 1), (1002, 0), (1005, 2), (1004, 0)):
        kernel.sample(time, raw_pio(time, 0), ring)
    assert [(row.t, row.vcpu) for row in kernel.drain()] == [(1, 1), (2, 0), (3, 1), (4, 0), (5, 2)]


def test_events_after_the_last_reading_of_the_clock_wait():
    kernel = Kernel()
    kernel.sample(1_000_000, raw_pio(1, 0))
    kernel.sample(1_000_001, raw_pio(2, 0))
    first = [row.a for row in kernel.drain()]
    kernel.clock.raw, kernel.clock.t = [1_000_000, 2_000_000], [999_000, 1_999_000]
    assert (first, [row.a for row in kernel.drain()]) == ([1], [2])


def test_an_event_that_an_interrupt_put_before_an_earlier_one():
    kernel = Kernel()
    for time in (1001, 1004, 1003, 1002):
        kernel.sample(time, raw_pio(time, 0))
    assert [row.a for row in kernel.drain()] == [1001, 1002, 1003, 1004]


def test_times_follow_the_rate_of_the_two_clocks():
    kernel = Kernel()
    kernel.clock.t = [0, 1_998_000]
    kernel.sample(500_500, raw_pio(0, 0))
    assert kernel.drain()[0].t == 999_000


@pytest.mark.parametrize("raw", [b"", b"\x01", struct.pack("<HHI", 9999, 0, 0), struct.pack("<HHI", EXIT, 0, 0)])
def test_what_no_format_describes_is_counted(raw):
    kernel = Kernel()
    kernel.sample(1500, raw)
    kernel.sample(1600, raw_pio(1, 0))
    assert ([row.a for row in kernel.drain()], kernel.rings[0].unknown) == ([1], 1)


@given(st.binary(max_size=400), st.integers(0, SIZE))
def test_any_bytes_are_survived(data, start):
    kernel = Kernel()
    kernel.put(bytes(start))
    kernel.pages[0][TAIL : TAIL + 8] = start.to_bytes(8, "little")
    kernel.put(data)
    kernel.drain()
    assert start <= kernel.tail() <= kernel.heads[0]


@given(st.lists(st.tuples(st.integers(0, 120), st.integers(0, 255)), max_size=6))
def test_a_damaged_record_is_survived(damage):
    kernel = Kernel()
    kernel.sample(1500, raw_exit(1, 2, 2))
    kernel.sample(1501, raw_pio(1, 2))
    for at, byte in damage:
        kernel.pages[0][PAGE + at] = byte
    kernel.drain()
    assert kernel.tail() <= kernel.heads[0]


def test_the_clock_is_the_traces():
    clock = ffi.new("struct perf_clock *")
    start = lib.tsc_now()
    lib.perf_clock_read(clock, start, 1_000_000)  # 1 GHz: a cycle is a nanosecond
    lib.perf_clock_read(clock, start, 1_000_000)
    now = lib.tsc_now() - start
    assert 0 <= clock.t[0] <= clock.t[1] <= now
    assert clock.raw[0] <= clock.raw[1]
