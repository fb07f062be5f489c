"""A handmade trace with known numbers, and its summary."""

import io
import json

import pytest

import tracer
from tests.fakes.tracefakes import exit_, record_all
from tracer.analysis.summary import summarise
from tracer.cli import main
from tracer.export.convert import convert
from tracer.record import recorder, rewrite
from tracer.record.buffers import Buffers
from tracer.show.output import duration

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
    "start_ns": [200, 300],
    "stop_ns": [20_000, 10_000],
    "open_ns": [None, 9_800],
    "clocks": {"trace_ns": 101_500, "monotonic_ns": 100_000},
}


def by_hand(tmp_path, closing=CLOSING):
    first = [
        exit_(1000, 1100, data=b"h"),
        exit_(2000, 2300, data=b"\n"),
        exit_(3000, 3050, addr=0x80, size=2, data=b"\xff\xff", device=None, rip=0x1000),
        exit_(4000, 4400, reason="mmio", addr=0xFEE00000, size=4, data=bytes(4), direction="read", device="rtc0"),
        exit_(5000, 9000, reason="hlt", addr=0, size=0, data=b"", direction="none", device=None, flags=0),
    ]
    second = [
        exit_(2500, 2600, addr=0x80, size=2, data=b"\xff\xff", device=None, rip=0x2000),
        exit_(6000, 6400, addr=0x3F8, data=bytes(100)),
    ]
    record_all(tmp_path / "boot.arrow", [first, second], summary=closing)
    return tracer.load(tmp_path / "boot.arrow")


@pytest.fixture(params=["one batch", "batches of two rows", "stream"])
def summary(tmp_path, monkeypatch, request):
    if request.param == "batches of two rows":
        monkeypatch.setattr(rewrite, "BATCH_ROWS", 1)
        monkeypatch.setattr(recorder, "Buffers", lambda table, *room: Buffers(table, rows=2))
    trace = by_hand(tmp_path)
    if request.param == "stream":
        convert(trace.path, trace.path.with_suffix(".arrows"))
        trace = tracer.load(trace.path.with_suffix(".arrows"))
    return summarise(trace)


def rows(table, *names):
    """Rows of a table as tuples of some columns."""
    return list(zip(*(table[name].to_pylist() for name in names), strict=True))


EXITS = ("exits", "bytes", "handling_ns", "min_ns", "max_ns", "median_ns")


def test_exits_by_reason(summary):
    assert rows(summary.tables["reason"], "reason", *EXITS) == [
        ("io", 5, 106, 950, 50, 400, 100),
        ("hlt", 1, 0, 4000, 4000, 4000, 4000),
        ("mmio", 1, 4, 400, 400, 400, 400),
    ]


def test_exits_by_device(summary):
    assert rows(summary.tables["device"], "device", *EXITS) == [
        ("-", 3, 4, 4150, 50, 4000, 100),
        ("serial0", 3, 102, 800, 100, 400, 300),
        ("rtc0", 1, 4, 400, 400, 400, 400),
    ]


def test_exits_by_address(summary):
    assert rows(summary.tables["address"], "device", "reason", "addr", "direction", "size", *EXITS) == [
        ("serial0", "io", 0x3F8, "write", 1, 3, 102, 800, 100, 400, 300),
        ("-", "io", 0x80, "write", 2, 2, 4, 150, 50, 100, 50),
        ("rtc0", "mmio", 0xFEE00000, "read", 4, 1, 4, 400, 400, 400, 400),
    ]


def test_shares_are_of_all(summary):
    shares = rows(summary.tables["reason"], "exits_share", "handling_share")
    assert shares[0] == (pytest.approx(5 / 7), pytest.approx(950 / 5350))


def test_by_time_the_order_is_another(tmp_path):
    assert summarise(by_hand(tmp_path), "handling_ns").tables["reason"]["reason"].to_pylist() == ["hlt", "io", "mmio"]


def test_what_no_device_claims_says_what_and_where(summary):
    [row] = summary.tables["unclaimed"].to_pylist()
    assert row == {
        "reason": "io", "addr": 0x80, "what": "POST code", "direction": "write", "size": 2, "exits": 2,
        "data": 0xFFFF, "values": 1, "rip": 0x1000, "rips": 2,
    }  # fmt: skip


def test_time_of_each_vcpu(summary):
    # In KVM_RUN: 200-1000, 1100-2000, 2300-3000, 3050-4000, 4400-5000, 9000-20,000.
    parts = ("start_ns", "kvm_run_ns", "handling_ns", "paused_ns", "stopped_ns", "hlt_ns", "halted_ns")
    assert rows(summary.tables["vcpu"], "vcpu", "exits", *parts) == [
        (0, 5, 200, 14_950, 4850, 0, 0, 4000, 76),
        (1, 2, 300, 9000, 700, 0, 10_000, 0, None),
    ]


def test_what_the_trace_does_not_see(summary):
    unseen = summary.tables["unseen"]
    assert rows(unseen, "vcpu", "rows", "dropped", "interrupted", "kvm_exits", "unseen") == [
        (0, 5, 0, 4, 100, 95),
        (1, 2, 3, 0, None, None),
    ]


def test_the_whole(summary):
    assert (summary.rows, summary.complete, summary.duration_ns) == (7, True, 20_000)
    assert summary.result == {"kind": "reset", "status": 0}
    run = {"rows": 7, "complete": True, "duration_ns": 20_000, "kind": "reset", "status": 0}
    assert summary.tables["run"].to_pylist() == [run]


def test_kvm_counters_are_differences(summary):
    assert rows(summary.tables["counters"], "vcpu", "counter", "value") == [
        (0, "exits", 100),
        (0, "halt_poll_fail_ns", 5),
        (0, "halt_wait_ns", 70),
        (0, "io_exits", 5),
        (0, "mmio_exits", 1),
    ]


def test_the_notes_reconcile(summary):
    assert summary.notes == (
        "3 exits were dropped because a ring was full; their time counts as KVM_RUN.",
        "4 calls of KVM_RUN were interrupted by a signal; this is not an exit.",
        "KVM counted 100 exits of the guest: 7 reached vmrun and are rows, 3 were dropped, 90 (90.0%) were handled by "
        "KVM.",
    )


def test_shares_of_addresses_are_of_all_exits(summary):
    [serial] = [row for row in summary.tables["address"].to_pylist() if row["addr"] == 0x3F8]
    [whole] = [row for row in summary.tables["device"].to_pylist() if row["device"] == "serial0"]
    assert (serial["exits_share"], serial["handling_share"]) == (whole["exits_share"], whole["handling_share"])


def test_an_unknown_rip_is_none(tmp_path):
    unclaimed = exit_(0, addr=0x80, data=b"\xff", device=None, rip=0)
    record_all(tmp_path / "boot.arrow", [[unclaimed]])
    [row] = summarise(tracer.load(tmp_path / "boot.arrow")).tables["unclaimed"].to_pylist()
    assert (row["rip"], row["rips"]) == (None, 0)


def notes_with(tmp_path, io, mmio, **more):
    stats = {"start": [{}], "end": [{"io_exits": io, "mmio_exits": mmio}]}
    return summarise(by_hand(tmp_path, {"stats": stats, **more})).notes


def test_more_counted_than_seen_was_answered_by_kvm(tmp_path):
    io, mmio = notes_with(tmp_path, 105, 11)
    assert "100 more, because io_exits also counts exits that KVM answered itself (PIC, PIT, ...)" in io
    assert "10 more, because mmio_exits" in mmio


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
        {},
        {"stats": None, "rows": "x", "result": 3, "dropped": [None]},
        {"stats": {"start": [1], "end": [{}]}},
        {"stats": {"start": [{"exits": 0}], "end": [{"exits": 1 << 70}]}},
        {"recovered": {"problems": 3}},
    ],
)
def test_a_closing_summary_may_lack_anything(tmp_path, closing):
    assert summarise(by_hand(tmp_path, closing)).rows == 7


def test_unclaimed_accesses_too_many_to_tell_apart_are_still_counted(tmp_path, monkeypatch):
    monkeypatch.setattr("tracer.analysis.scan.GROUPS", 8)
    records = [exit_(1000 * t, addr=t, data=bytes([t]), device=None, rip=t + 1) for t in range(100)]
    records += [exit_(200_000 + t, addr=7, data=b"\1", device=None, rip=9) for t in range(0, 3000, 100)]
    record_all(tmp_path / "boot.arrow", [records])
    unclaimed = summarise(tracer.load(tmp_path / "boot.arrow")).tables["unclaimed"]
    assert sum(unclaimed["exits"].to_pylist()) == 130
    assert 7 in unclaimed["addr"].to_pylist()
    assert unclaimed.num_rows <= 8


def test_no_rows_at_all(tmp_path, capsys):
    record_all(tmp_path / "boot.arrow", [[]])
    summary = summarise(tracer.load(tmp_path / "boot.arrow"))
    counts = {name: table.num_rows for name, table in summary.tables.items() if name not in ("run", "notes")}
    assert (summary.rows, summary.duration_ns, set(counts.values())) == (0, 0, {0})
    assert main(["summary", str(tmp_path / "boot.arrow")]) == 0
    assert "Exits by reason: none" in capsys.readouterr().out


def test_the_text_fits_a_terminal_and_has_every_part(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    by_hand(tmp_path)
    assert main(["summary", str(tmp_path / "boot.arrow")]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 100
    for part in ("7 exits in 20.0 us, complete; end: kind reset status 0", "Exits by reason", "Claimed by no device",
                 "0xfee00000", "exits%", "Time by vCPU", "What the trace does not see"):  # fmt: skip
        assert part in text


def test_long_tables_are_cut_on_a_terminal_and_say_so(tmp_path, capsys, monkeypatch):
    record_all(tmp_path / "boot.arrow", [[exit_(t, addr=t, device=None) for t in range(40)]])
    assert main(["summary", str(tmp_path / "boot.arrow")]) == 0
    piped = capsys.readouterr().out
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert main(["summary", str(tmp_path / "boot.arrow")]) == 0
    assert "and 25 more rows (--all)" in capsys.readouterr().out
    assert ("more rows" in piped, "0x27" in piped, [line for line in piped.splitlines() if line != line.rstrip()]) == (
        False, True, [],
    )  # fmt: skip
    assert main(["summary", "--all", str(tmp_path / "boot.arrow")]) == 0
    assert "(--all)" not in capsys.readouterr().out


def test_json_has_the_same_numbers(tmp_path, capsys):
    by_hand(tmp_path)
    assert main(["summary", "--json", str(tmp_path / "boot.arrow")]) == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["reason"][0]["reason"], value["reason"][0]["handling_ns"]) == ("io", 950)
    assert value["run"][0]["rows"] == 7


def test_csv_of_a_table(tmp_path, capfdbinary):
    import pyarrow.csv

    by_hand(tmp_path)
    assert main(["summary", "--csv", "--table", "address", str(tmp_path / "boot.arrow")]) == 0
    assert pyarrow.csv.read_csv(io.BytesIO(capfdbinary.readouterr().out))["exits"].to_pylist() == [3, 2, 1]


@pytest.mark.parametrize(
    ("ns", "text"),
    [(0, "0 ns"), (999, "999 ns"), (1000, "1.00 us"), (9999, "10.0 us"), (99_990, "100 us"), (999_499, "999 us"),
     (999_500, "1.00 ms"), (14_000_000_000, "14.0 s"), (3_600_000_000_000, "3,600 s"), (-1500, "-1.50 us")],
)  # fmt: skip
def test_durations_are_readable(ns, text):
    assert duration(ns) == text
