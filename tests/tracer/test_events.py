"""``vmtrace events``: lines, filters, columns, following."""

import json
import re
import threading

import pyarrow as pa
import pytest
from rich.cells import cell_len
from tracefakes import DEVICES, METADATA, Rings, exit_, pytest_fail, record_all

from tracer import TraceError, load
from tracer.analysis.where import compile
from tracer.cli import main
from tracer.convert import convert
from tracer.events import READABLE, Lines, exits
from tracer.recorder import Recorder
from vmspec.record import FLAGS


@pytest.fixture
def path(tmp_path):
    """A guest that sets its UART up, prints, reads the clock, asks for what is not there."""
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
    assert head.split() == ["time", "vcpu", "reason", "what", "rw", "value", "handling", "rip", "flags"]
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
    monkeypatch.setattr("tracer.rewrite.BATCH_ROWS", rows)
    convert(path, path.with_name("again.arrow"))
    head, *whole = lines(capsys, path)
    again = path.with_name("again.arrow")
    for count in (0, 1, 3, 9, 100):
        assert lines(capsys, again, "--last", str(count)) == [head, *whole[max(9 - count, 0) :]]
    assert lines(capsys, again, "--last", "1", "--where", "device == 'rtc0'") == [head, whole[6]]


def test_what_a_filter_hides_is_still_known(path, capsys):
    shown = lines(capsys, path, "--where", "direction == 'read' and device == 'rtc0'")
    assert [line.split()[3:6] for line in shown[1:]] == [["CMOS", "register", "B"]]
    trace = load(path)
    assert [row["what"] for row in exits(trace.batches(), compile("size == 1 and addr == 0x3f8", trace))] == [
        "COM1 DLL",
        "COM1 THR",
    ]


def test_columns_and_limit(path, capsys):
    shown = lines(capsys, path, "--columns", "seq,addr,device,payload", "--limit", 5)
    assert len(shown) == 6
    assert shown[-1].split() == ["4", "0x3f8", "serial0", b"hello world".hex()]
    assert len(lines(capsys, path, "--limit", "0")) == 1


def test_json_lines(path, capsys):
    rows = [json.loads(line) for line in lines(capsys, path, "--json", "--where", "handling > 1us")]
    assert [(row["what"], row["meaning"], row["handling"], row["flags"]) for row in rows] == [
        ("COM1 LSR", "THRE|TEMT", 5000, ["RIP"])
    ]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--columns", "time,devce"], "no column 'devce'; did you mean device?"),
        (["--columns", "tme"], "did you mean time?"),
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


def test_a_long_text_leaves_the_next_columns_where_they_are():
    lines = Lines(("what", "rw", "handling"))
    row = {"reason": "io", "addr": 1, "device": "-", "direction": "read", "handling": 5, "what": "x" * 22}
    assert lines.line(row).index("5 ns") == lines.head().index("handling") + len("handling") - len("5 ns")


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
    assert head == "     time vcpu what             rw value           handling rip       flags"
    assert shown[3] == " 0.000004    0 COM1 LSR         r  0x60 THRE|TEMT   5.00 us \u202681000000"
    assert shown[7] == " 0.000040    0 COM2 LSR         r  0xff              100 ns -         UNCLAIMED"


def test_where_there_is_more_room_values_have_it(path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "132")
    head, *shown = lines(capsys, path)
    assert head.index("flags") == 100 - len("UNCLAIMED") + 32
    assert "11 x 1: 68656c6c6f20776f726c64   " in shown[4]


def test_wide_characters_take_two_columns():
    row = {"reason": "io", "addr": 1, "device": "-", "direction": "read", "handling": 5, "what": "\u6f22" * 30}
    line = Lines(("what", "rw", "handling"), 40).line(row)
    assert cell_len(line) <= 40
    assert "\u6f22\u2026" in line
    assert "5 ns" in line


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
