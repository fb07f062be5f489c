"""``vmtrace events``: lines, filters, columns, following."""

import json
import re
import threading
from typing import NamedTuple

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tests.fakes import plainlines
from tests.fakes.tracefakes import DEVICES, METADATA, ZEROS, Rings, exit_, pytest_fail, record_all
from tracer import TraceError, load
from tracer.analysis.where import compile
from tracer.cli import main
from tracer.decode.decoder import DEPENDENT, READ_ONCE, STATE_ADDRESSES, STATE_PORTS
from tracer.export.convert import convert
from tracer.format.schema import schema_of
from tracer.record.recorder import Recorder
from tracer.show.events import READABLE, Lines, described, json_lines
from vmspec.trace.record import EXITS, FLAGS


class Trace(NamedTuple):
    """What a filter asks of a trace."""

    devices: list[str]


@pytest.fixture
def path(tmp_path):
    """A guest that sets up its UART, prints, reads the clock, and accesses a port that no device claims."""
    io = {"device": "serial0"}
    records = [
        exit_(1_000, addr=0x3FB, data=b"\x83", **io),
        exit_(2_000, addr=0x3F8, data=b"\x01", **io),
        exit_(3_000, addr=0x3FB, data=b"\x03", **io),
        exit_(
            4_000, 9_000, addr=0x3FD, data=b"\x60", direction="read", rip=0xFFFFFFFF81000000, flags=FLAGS["RIP"], **io
        ),
        exit_(10_000, data=b"hello world", **io),
        exit_(20_000, addr=0x70, data=b"\x0b", device="rtc0"),
        exit_(30_000, addr=0x71, data=b"\x02", direction="read", device="rtc0"),
        exit_(40_000, addr=0x2FD, data=b"\xff", direction="read", device=None),
        exit_(50_000, reason="hlt", addr=0, data=b"", size=0, direction="none", device=None, flags=FLAGS["LAST"]),
    ]
    record_all(tmp_path / "boot.arrow", [records])
    return tmp_path / "boot.arrow"


def lines(capsys, *arguments):
    assert main(["events", *map(str, arguments)]) == 0
    return capsys.readouterr().out.splitlines()


def test_a_line_each(path, capsys):
    head, *shown = lines(capsys, path)
    assert head.split() == ["t_exit", "vcpu", "reason", "what", "rw", "value", "handling", "rip", "flags"]
    assert [line.split() for line in shown] == [
        ["0.000001000", "0", "io", "COM1", "LCR", "w", "0x83", "8n1", "DLAB", "100", "ns", "-"],
        [
            "0.000002000",
            "0",
            "io",
            "COM1",
            "DLL",
            "w",
            "0x01",
            "115200",
            "baud",
            "if",
            "DLM",
            "is",
            "0",
            "100",
            "ns",
            "-",
        ],
        ["0.000003000", "0", "io", "COM1", "LCR", "w", "0x03", "8n1", "100", "ns", "-"],
        ["0.000004000", "0", "io", "COM1", "LSR", "r", "0x60", "THRE|TEMT", "5.00", "us", "ffffffff81000000"],
        ["0.000010000", "0", "io", "COM1", "THR", "w", "11", "x", "1:", b"hello world".hex(), "100", "ns", "-"],
        ["0.000020000", "0", "io", "CMOS", "index", "w", "0x0b", "register", "B", "100", "ns", "-"],
        ["0.000030000", "0", "io", "CMOS", "register", "B", "r", "0x02", "BCD|24", "h", "100", "ns", "-"],
        ["0.000040000", "0", "io", "COM2", "LSR", "r", "0xff", "100", "ns", "-", "UNCLAIMED"],
        ["0.000050000", "0", "hlt", "halted", "100", "ns", "-", "LAST"],
    ]


@pytest.mark.parametrize("rows", [1, 2, 1 << 16])
def test_the_last_ones(path, capsys, monkeypatch, rows):
    monkeypatch.setattr("tracer.record.rewrite.BATCH_ROWS", rows)
    convert(path, path.with_name("again.arrow"))
    head, *whole = lines(capsys, path)
    again = path.with_name("again.arrow")
    for count in (0, 1, 3, 9, 100):
        assert lines(capsys, again, "--last", str(count)) == [head, *whole[max(9 - count, 0) :]]
    assert lines(capsys, again, "--last", "1", "--where", "device == 'rtc0'") == [head, whole[6]]


def batch_of(rows):
    """A batch of a trace with these rows."""
    import pyarrow as pa

    schema = schema_of(EXITS, {})
    return pa.RecordBatch.from_arrays(
        [pa.array([(ZEROS | row)[field.name] for row in rows], field.type) for field in schema], schema=schema
    )


PLACES = st.sampled_from([*STATE_PORTS, *DEPENDENT, READ_ONCE, *STATE_ADDRESSES, 0x3FD, 0x511, 0x1234, 0xFED000F0])
WORDS = st.sampled_from([0, 1, 2, 0x0B, 0x10, 0x11, 0x13, 0x20, 0x60, 0x80, 0x83, 0xD1, 0x80000004, (1 << 64) - 1])
ROWS = st.fixed_dictionaries(
    {
        "seq": st.integers(0, 1 << 60),
        "vcpu": st.integers(0, 3),
        "t_exit": st.integers(-(10**10), 10**13),
        "reason": st.sampled_from(["io", "io", "io", "mmio", "wrmsr", "hlt", "unknown", "hypercall"]),
        "rip": st.sampled_from([0, 0xFFFFFFFF81000000, (1 << 64) - 1]),
        "addr": PLACES,
        "size": st.sampled_from([0, 1, 1, 1, 2, 4, 8, 255]),
        "count": st.sampled_from([0, 1, 1, 1, 3, 1 << 31]),
        "direction": st.sampled_from(["read", "write", "write", "none"]),
        "data": WORDS | st.integers(0, (1 << 64) - 1),
        "payload": st.sampled_from([b"", b"", b"\0\n\xff" * 9]),
        "device": st.sampled_from(["-", *DEVICES, "\u6f22\x1b[2J", "virtio0"]),
        "region": st.integers(0, 255),
        "flags": st.integers(0, 0xFFFF),
        "handling": st.integers(-5, 5000) | st.integers(0, 10**13),
    }
)


@given(st.lists(ROWS, min_size=1, max_size=60), st.integers(0, 60), st.booleans())
def test_the_lines_are_those_of_the_plain_way(rows, cut, merged):
    for row in rows:
        row["t_entry"] = row["t_exit"] + row["handling"]
    machines = {vcpu: f"machine{vcpu % 2}" for vcpu in range(4)} if merged else None
    whole = batch_of(rows)
    batches = [batch for batch in (whole.slice(0, cut), whole.slice(cut)) if batch.num_rows]
    expected = list(plainlines.rows(whole.to_pylist(), machines))
    shown = list(described(batches, machines=machines))
    assert "".join(map(Lines().text, shown)) == "".join(map(plainlines.line, expected))
    assert "".join(map(json_lines, shown)) == "".join(map(plainlines.json_line, expected))
    chosen = compile("size == 1 or addr in (0x71, 0x60)", Trace(DEVICES))
    kept = [row for row in expected if row["size"] == 1 or row["addr"] in (0x71, 0x60)]
    shown = described(batches, chosen, machines)
    assert "".join(map(Lines().text, shown)) == "".join(map(plainlines.line, kept))


@given(st.lists(ROWS, min_size=1, max_size=20))
def test_every_name_is_one_that_a_filter_takes(rows):
    for row in rows:
        row["t_entry"] = row["t_exit"]
        row["direction"] = "read" if row["direction"] == "none" else row["direction"]
    (batch,) = described([batch_of(rows)])
    for name in set(batch["what"].to_pylist()):
        filter_ = compile(f"what == {name!r}", Trace(DEVICES))
        assert filter_.mask(batch).to_pylist() == [what == name for what in batch["what"].to_pylist()]


def test_large_batches_are_cut(monkeypatch):
    monkeypatch.setattr("tracer.decode.batches.ROWS", 3)
    row = {"vcpu": 0, "t_exit": 0, "t_entry": 5, "reason": "hlt", "rip": 0, "addr": 0, "size": 0, "count": 0}
    row |= {"direction": "none", "data": 0, "payload": b"", "device": "-", "flags": 0}
    found = list(described([batch_of([{"seq": seq, **row} for seq in range(10)])]))
    assert [seq for batch in found for seq in batch["seq"].to_pylist()] == list(range(10))
    assert max(batch.num_rows for batch in found) <= 3


def test_times_beyond_all_measure_are_damage():
    row = {"seq": 0, "vcpu": 0, "t_exit": -(1 << 62), "t_entry": (1 << 63) - 1, "reason": "hlt", "rip": 0, "addr": 0}
    row |= {
        "size": 0,
        "count": 0,
        "direction": "none",
        "data": 0,
        "payload": b"",
        "device": "-",
        "flags": 0,
    }
    with pytest.raises(TraceError, match="damaged"):
        list(described([batch_of([row])]))


@pytest.mark.parametrize(
    ("expression", "count"),
    [("what == 'COM1 LCR'", 2), ("'THRE' in meaning", 1), ("rw == 'r' and 'CMOS' in what", 1), ("value != ''", 8)],
)
def test_filters_over_what_is_decoded(path, capsys, expression, count):
    assert len(lines(capsys, path, "--where", expression)) == 1 + count
    assert len(lines(capsys, path, "--where", expression, "--last", "1")) == 2


def test_a_filter_that_nothing_fits_says_how_near_it_was(path, capsys):
    assert main(["events", str(path), "--where", "size == 1 and what == 'PIC1 IMR' and t_exit > 1us"]) == 0
    captured = capsys.readouterr()
    assert captured.out.count("\n") == 1
    assert captured.err == (
        "vmtrace: no exit of 9 matches all of it; size == 1: 8; what == 'PIC1 IMR': 0; t_exit > 1us: 8\n"
    )


def test_what_a_filter_hides_is_still_known(path, capsys):
    shown = lines(capsys, path, "--where", "direction == 'read' and device == 'rtc0'")
    assert [line.split()[3:6] for line in shown[1:]] == [["CMOS", "register", "B"]]
    trace = load(path)
    shown = described(trace.batches(), compile("size == 1 and addr == 0x3f8", trace))
    assert [row["what"] for batch in shown for row in batch.to_pylist()] == ["COM1 DLL", "COM1 THR"]


def test_columns_and_limit(path, capsys):
    shown = lines(capsys, path, "--columns", "seq,addr,device,payload", "--limit", 5)
    assert len(shown) == 6
    assert shown[-1].split() == ["4", "0x3f8", "serial0", b"hello world".hex()]
    assert len(lines(capsys, path, "--limit", "0")) == 1


def test_json_lines(path, capsys):
    rows = [json.loads(line) for line in lines(capsys, path, "--json", "--where", "handling > 1us")]
    assert [(row["what"], row["meaning"], row["handling_ns"], row["flags"]) for row in rows] == [
        ("COM1 LSR", "THRE|TEMT", 5000, ["RIP"])
    ]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--columns", "t_exit,devce"], "no column 'devce'; did you mean 'device'?"),
        (["--columns", "t_exi"], "did you mean 't_exit'?"),
        (["--where", "sise > 1"], "did you mean 'size'?"),
    ],
)
def test_what_is_wrong(path, capsys, arguments, problem):
    assert main(["events", str(path), *arguments]) == 2
    assert problem in capsys.readouterr().err


@pytest.mark.parametrize("limit", ["-1", "many"])
def test_a_limit_that_is_none(path, limit):
    with pytest.raises(SystemExit) as raised:
        main(["events", str(path), f"--limit={limit}"])
    assert raised.value.code == 2


def line(lines, **values):
    """The line of one exit; ``what`` is the name of its device."""
    row = {"seq": 0, "vcpu": 0, "t_exit": 0, "t_entry": 5, "reason": "hlt", "rip": 0, "addr": 0, "size": 0, "count": 0}
    row |= {"direction": "none", "data": 0, "payload": b"", "device": "-", "flags": 0, **values}
    (batch,) = described([batch_of([row])])
    return lines.text(batch).removesuffix("\n")


def test_a_long_text_leaves_the_next_columns_where_they_are():
    shown = line(Lines(("what", "rw", "handling_ns")), reason="io", device="x" * 10, addr=1 << 60)
    head = Lines(("what", "rw", "handling_ns")).head()
    assert shown.startswith("x" * 10 + " port 0x1000000000000000")
    assert shown.index("5 ns") == head.index("handling") + len("handling") - len("5 ns") + len(shown) - len(head)
    shown = line(Lines(("what", "rw", "value", "handling_ns")), reason="io", device="x" * 10, addr=1 << 20)
    head = Lines(("what", "rw", "value", "handling_ns")).head()
    assert shown.index("5 ns") == head.index("handling") + len("handling") - len("5 ns")


@pytest.mark.parametrize("width", [20, 40, 60, 79, 80, 99, 100, 132, 200])
def test_no_line_is_wider_than_the_terminal(path, capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    chosen = ["--columns", ",".join([*READABLE, "payload", "addr"])]
    for arguments in ([], chosen):
        shown = lines(capsys, path, *arguments)
        assert max(map(len, shown)) <= width
        assert len(shown) == 10


def test_at_80_columns_a_line_has_all_but_the_reason(path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    head, *shown = lines(capsys, path)
    assert head == "   t_exit vcpu what             rw value           handling rip       flags"
    assert shown[3] == " 0.000004    0 COM1 LSR         r  0x60 THRE|TEMT   5.00 us \u202681000000"
    assert shown[7] == " 0.000040    0 COM2 LSR         r  0xff              100 ns -         UNCLAIMED"


def test_where_there_is_more_room_values_have_it(path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "132")
    head, *shown = lines(capsys, path)
    assert head.index("flags") == 100 - len("UNCLAIMED") + 32
    assert "11 x 1: 68656c6c6f20776f726c64   " in shown[4]


def test_wide_characters_take_two_columns():
    shown = line(Lines(("what", "rw", "handling_ns"), 40), reason="mmio", addr=1 << 28, device="\u6f22" * 30)
    assert cell_len(shown) <= 40
    assert "\u6f22\u2026" in shown
    assert "5 ns" in shown


def test_control_characters_are_not_printed(tmp_path, capsys):
    with pytest.raises(TraceError, match=re.escape(r"no column '\\x1b[2J'")):
        Lines(("\x1b[2J",))


def test_following_to_the_end(tmp_path, capsys):
    path, rings = tmp_path / "boot.arrow", Rings(1)
    recorder = Recorder(path, rings, lambda: METADATA, DEVICES, pytest_fail)
    recorder.start()
    rings.produce(0, exit_(1))
    rings.wake()
    while not (tmp_path / "boot.arrows").exists():
        threading.Event().wait(0.01)

    def end():
        rings.produce(0, exit_(2))
        recorder.finish({})

    timer = threading.Timer(0.3, end)
    timer.start()
    assert main(["events", "-f", str(path), "--columns", "seq"]) == 0
    timer.join()
    assert capsys.readouterr().out.split() == ["seq", "0", "1"]


def test_following_a_killed_run_says_so(tmp_path, path, capsys):
    trace = load(path)
    with pa.OSFile(str(tmp_path / "killed.arrows"), "wb") as sink, pa.ipc.new_stream(sink, trace.schema) as writer:
        for batch in trace.batches():
            writer.write_batch(batch)
    assert main(["events", "-f", str(tmp_path / "killed.arrows")]) == 2
    captured = capsys.readouterr()
    assert captured.out.count("\n") == 10
    assert "the run was killed" in captured.err
