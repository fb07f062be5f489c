"""A trace made by hand, whose numbers are known, and what the summary says of it."""

import json

import pytest
from tracefakes import DEVICES, exit_, record_all

import tracer
from tracer.console import Line
from tracer.counters import Counters
from tracer.output import duration, printable
from tracer.report import as_json, as_text
from tracer.summary import ByAddress, ByDevice, ByReason, ByVcpu, summarise

CLOSING = {
    "result": {"kind": "reset", "status": 0},
    "rows": [5, 2],
    "dropped": [0, 3],
    "interrupted": [4, 0],
    "stats": {
        "start": [{"exits": 10, "io_exits": 1, "halt_wait_ns": 0}, {"exits": 0}],
        "end": [
            {"exits": 110, "io_exits": 6, "mmio_exits": 1, "halt_wait_ns": 70, "halt_poll_fail_ns": 5, "l1d_flush": 0},
            {"exits": 0},
        ],
    },
    "duration_ns": 20_000,
}


def by_hand(tmp_path, closing=CLOSING):
    first = [
        exit_(1000, 1100, data=b"h"),
        exit_(2000, 2300, data=b"\n"),
        exit_(3000, 3050, addr=0x80, size=2, data=b"\xff\xff", device=None),
        exit_(4000, 4400, reason="mmio", addr=0xFEE00000, size=4, data=bytes(4), direction="read", device="rtc0"),
        exit_(5000, 9000, reason="hlt", addr=0, size=0, data=b"", direction="none", device=None, flags=0),
    ]
    second = [
        exit_(2500, 2600, addr=0x80, size=2, data=b"\xff\xff", device=None),
        exit_(6000, 6400, addr=0x3F8, data=bytes(100)),
    ]
    record_all(tmp_path / "boot.arrow", [first, second], summary=closing)
    return tracer.load(tmp_path / "boot.arrow")


@pytest.fixture
def summary(tmp_path):
    trace = by_hand(tmp_path)
    return summarise(trace.table, trace.summary, trace.devices)


def test_exits_by_reason(summary):
    assert summary.reasons == (
        ByReason(reason="io", exits=5, bytes=106, handler_ns=950, longest_ns=400),
        ByReason(reason="hlt", exits=1, bytes=0, handler_ns=4000, longest_ns=4000),
        ByReason(reason="mmio", exits=1, bytes=4, handler_ns=400, longest_ns=400),
    )


def test_exits_by_device(summary):
    assert summary.devices == (
        ByDevice(device="-", exits=3, bytes=4, handler_ns=4150, longest_ns=4000),
        ByDevice(device="serial0", exits=3, bytes=102, handler_ns=800, longest_ns=400),
        ByDevice(device="rtc0", exits=1, bytes=4, handler_ns=400, longest_ns=400),
    )


def test_exits_by_address(summary):
    io = {"reason": "io", "direction": "write"}
    unclaimed = ByAddress(device="-", addr=0x80, size=2, exits=2, bytes=4, handler_ns=150, longest_ns=100, **io)
    assert summary.unclaimed == (unclaimed,)
    assert summary.addresses == (
        ByAddress(device="serial0", addr=0x3F8, size=1, exits=3, bytes=102, handler_ns=800, longest_ns=400, **io),
        unclaimed,
        ByAddress(
            device="rtc0", reason="mmio", addr=0xFEE00000, direction="read", size=4,
            exits=1, bytes=4, handler_ns=400, longest_ns=400,
        ),
    )  # fmt: skip


def test_time_of_each_vcpu(summary):
    assert summary.vcpus == (
        # In the guest: 1100-2000, 2300-3000, 3050-4000, 4400-5000.
        ByVcpu(vcpu=0, exits=5, first_ns=1000, guest_ns=3150, handler_ns=4850, hlt_ns=4000, halted_ns=75),
        ByVcpu(vcpu=1, exits=2, first_ns=2500, guest_ns=3400, handler_ns=500, hlt_ns=0, halted_ns=None),
    )


def test_the_whole(summary):
    assert (summary.rows, summary.complete, summary.duration_ns) == (7, True, 20_000)
    assert summary.result == {"kind": "reset", "status": 0}


def test_the_console_is_in_it(summary):
    assert summary.console == "serial0"
    assert summary.lines == (Line(1000, 1000, 1, "h"), Line(6000, 5000, 6, "\0" * 100))


def test_kvm_counters_are_differences(summary):
    moved = {"exits": 100, "halt_poll_fail_ns": 5, "halt_wait_ns": 70, "io_exits": 5, "mmio_exits": 1}
    assert summary.counters == (Counters(0, moved, 75), Counters(1, {}, None))


def test_the_notes_reconcile(summary):
    assert summary.notes == (
        "3 exits were dropped because a ring was full; their time counts as time in the guest.",
        "4 returns of KVM_RUN were interrupted by a signal; they are no rows.",
        "KVM counted 100 exits of the guest; 7 came to vmrun and are rows, 93 (93.0%) the kernel handled unseen.",
        "KVM counted 5 port exits (io_exits) and 5 came to vmrun: KVM answered none itself.",
        "KVM counted 1 MMIO exits (mmio_exits) and 1 came to vmrun: KVM answered none itself.",
    )


def notes_with(tmp_path, io, mmio, **more):
    stats = {"start": [{}], "end": [{"io_exits": io, "mmio_exits": mmio}]}
    trace = by_hand(tmp_path, {"stats": stats, **more})
    return summarise(trace.table, trace.summary, trace.devices).notes


def test_more_counted_than_seen_was_answered_by_kvm(tmp_path):
    io, mmio = notes_with(tmp_path, 105, 11)
    assert "io_exits counts also what KVM answered itself (PIC, PIT, ...), 100 exits" in io
    assert "10 exits" in mmio


def test_more_seen_than_counted_is_explained(tmp_path):
    io, _ = notes_with(tmp_path, 3, 1)
    assert "a string instruction" in io


def test_a_host_that_does_not_count_is_told(tmp_path):
    io, mmio = notes_with(tmp_path, 0, 0)
    assert "does not count port exits" in io
    assert "does not count MMIO exits" in mmio


def test_rows_that_are_missing_are_told(tmp_path):
    assert "recorded 8 exits, but the file has 7 rows" in notes_with(tmp_path, 5, 1, rows=[6, 2])[0]


@pytest.mark.parametrize(
    "closing",
    [
        None,
        {},
        {"stats": None, "rows": "x", "result": 3, "dropped": [None]},
        {"stats": {"start": [1], "end": [{}]}},
        {"recovered": {"problems": 3}},
    ],
)
def test_a_closing_summary_may_lack_anything(tmp_path, closing):
    trace = by_hand(tmp_path)
    assert summarise(trace.table, closing, trace.devices).rows == 7


def test_no_rows_at_all(tmp_path):
    record_all(tmp_path / "boot.arrow", [[]])
    trace = tracer.load(tmp_path / "boot.arrow")
    summary = summarise(trace.table, trace.summary, trace.devices)
    assert (summary.rows, summary.reasons, summary.vcpus, summary.duration_ns) == (0, (), (), 0)
    assert "Exits by reason: none" in "\n".join(as_text(summary, False))


def test_the_text_fits_a_terminal_and_has_every_part(summary):
    text = "\n\n".join(as_text(summary, False))
    assert max(map(len, text.splitlines())) <= 100
    for part in ("7 exits in 20.0 us, complete; end: kind reset status 0", "Exits by reason", "Claimed by no device",
                 "0xfee00000", "read 4", "Time by vCPU", "Console (serial0), 2 lines"):  # fmt: skip
        assert part in text


def test_long_tables_are_cut_and_say_so(tmp_path):
    record_all(tmp_path / "boot.arrow", [[exit_(t, addr=t, device=None) for t in range(40)]])
    trace = tracer.load(tmp_path / "boot.arrow")
    summary = summarise(trace.table, trace.summary, DEVICES)
    assert "... and 25 more (--all)" in "\n".join(as_text(summary, False))
    assert "more (--all)" not in "\n".join(as_text(summary, True))


def test_json_has_the_same_numbers(summary):
    value = json.loads(as_json(summary))
    assert value["reasons"][0] == {"reason": "io", "exits": 5, "bytes": 106, "handler_ns": 950, "longest_ns": 400}
    assert value["lines"][0] == {"t": 1000, "gap": 1000, "exits": 1, "text": "h"}


@pytest.mark.parametrize(
    ("ns", "text"),
    [(0, "0 ns"), (999, "999 ns"), (1000, "1.00 us"), (9999, "10.0 us"), (99_990, "100 us"), (999_499, "999 us"),
     (999_500, "1.00 ms"), (14_000_000_000, "14.0 s"), (3_600_000_000_000, "3,600 s"), (-1500, "-1.50 us")],
)  # fmt: skip
def test_durations_are_readable(ns, text):
    assert duration(ns) == text


def test_control_characters_do_not_reach_the_terminal():
    assert printable("a\x1b[2Jb") == "a\N{REPLACEMENT CHARACTER}[2Jb"
