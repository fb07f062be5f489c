"""``vmtrace diff``: what it prints, and its statuses."""

import json
import random
import re
from pathlib import Path

import pyarrow.parquet
import pytest

from tests.bench import longtrace
from tests.fakes.comparefakes import METADATA, exit_row, images, spec, write_trace
from tests.fakes.tracefakes import exit_, record_all
from tracer.cli import main

ROOT = Path(__file__).parents[3]


@pytest.fixture
def diff(tmp_path, capsys, monkeypatch):
    """Runs ``vmtrace diff`` on two lists of rows; gives its status and output."""
    monkeypatch.setenv("COLUMNS", "100")

    def run(a, b, *options, ours=None, theirs=None):
        write_trace(tmp_path / "a.arrow", a, **ours or {})
        write_trace(tmp_path / "b.arrow", b, **theirs or {})
        status = main(["diff", str(tmp_path / "a.arrow"), str(tmp_path / "b.arrow"), *options])
        captured = capsys.readouterr()
        return status, captured.out if status < 2 else captured.err

    return run


ROWS = [exit_row(data=0x41 + number % 26, rip=0xFFFFFFFF81000000 + number) for number in range(100)]


def changed(row, **values):
    """The rows, one of them with other values."""
    return [*ROWS[:row], ROWS[row] | values, *ROWS[row + 1 :]]


def test_equal_traces(diff):
    status, text = diff(ROWS, ROWS)
    assert status == 0
    assert "EQUAL: all 100 exits, in reason, rip, addr" in text


def test_time_is_not_compared(diff):
    later = [row | {"t_exit": 5000 * n, "t_entry": 5000 * n + 1} for n, row in enumerate(ROWS)]
    assert diff(ROWS, later)[0] == 0


def test_the_first_difference_with_its_context(diff):
    status, text = diff(ROWS, changed(50, data=0x21), "--context", "1")
    assert status == 1
    lines = text.splitlines()
    start = next(number for number, line in enumerate(lines) if " row " in line)
    assert [re.sub(" +", " ", line) for line in lines[start + 1 : start + 5]] == [
        " 49 0.000049 s io serial0 0x3f8 write 1 0x58 'X' 0xffffffff81000031",
        " - 50 0.000050 s io serial0 0x3f8 write 1 [0x59 'Y'] 0xffffffff81000032",
        " + 50 0.000050 s io serial0 0x3f8 write 1 [0x21 '!'] 0xffffffff81000032",
        " 51 0.000051 s io serial0 0x3f8 write 1 0x5a 'Z' 0xffffffff81000033",
    ]


def test_the_text_fits_100_columns(diff):
    wide = exit_row(
        reason="mmio", addr=1 << 63, device="-", data=1 << 63, count=4096, payload=bytes(4096), rip=(1 << 64) - 1
    )
    _, text = diff([*ROWS, wide, *ROWS], [*ROWS, wide | {"payload": b"\xff" * 4096, "addr": 1 << 62}, *ROWS])
    assert max(map(len, text.splitlines())) <= 100


def test_ignored_columns(diff):
    assert diff(ROWS, changed(50, data=0x21, rip=1), "--ignore", "rip,data")[0] == 0
    assert diff(ROWS, changed(50, data=0x21, rip=1), "--ignore", "rip")[0] == 1


def test_a_trace_without_rip_is_compared_without_it(diff):
    blind = [row | {"rip": 0, "flags": 0} for row in ROWS]
    status, text = diff(ROWS, blind)
    assert status == 0
    assert "rip is not compared; recorded without it: B." in text


def test_rows_left_out_are_counted(diff):
    _, text = diff(ROWS, [*ROWS[:50], *(exit_row(addr=0x70, data=n) for n in range(20)), *ROWS[50:]])
    assert "+ ... 12 more" in text
    assert "blocks:  1 inserted" in text
    assert "exits:   20 only in B" in text


def test_totals_that_changed(diff):
    a = [*ROWS, exit_row(reason="hlt", device="-", direction="none", size=0, count=0, addr=0)]
    _, text = diff(a, [*ROWS, exit_row(device="rtc0", addr=0x70), exit_row(device="rtc0", addr=0x70)], "--json")
    tables = json.loads(text)
    counts = {
        (row["device"], row["reason"], row["addr"], row["direction"]): (row["exits_a"], row["exits_b"], row["ratio"])
        for row in tables["addresses"]
    }
    assert counts == {("-", "hlt", "0x0", "none"): (1, 0, 0.0), ("rtc0", "io", "0x70", "write"): (0, 2, None)}
    assert [(row["reason"], row["difference"]) for row in tables["reasons"]] == [("io", 2), ("hlt", -1)]
    assert [row["device"] for row in tables["devices"]] == ["rtc0", "-", "serial0"]


def test_phases_side_by_side(diff):
    start = exit_row(addr=0x70, device="rtc0", t_exit=0, t_entry=1)
    a, b = ([exit_row(data=byte, t_exit=t, t_entry=t + 1) for byte in b"Linux version 6.1\n"] for t in (5000, 7000))
    down = [exit_row(data=byte, t_exit=8000, t_entry=8001) for byte in b"reboot: machine restart\n"]
    _, text = diff([start, *a], [start, *b, *down], "--json")
    rows = [tuple(row.values()) for row in json.loads(text)["phases"]]
    assert rows == [
        ("before the first line", 5000, 7000, 2000, 1.4, 1, 1, 1, 1),
        ("printing the log so far", 14_000, 1000, -13_000, 1 / 14, 18, 18, 18, 18),
        ("shutting down", None, 35_000, None, None, None, 24, None, 24),
    ]


def test_metadata_that_differs_is_shown_but_does_not_count(diff):
    a = {"metadata": images(kernel="0123") | spec("[vm]\nmemory = 1\n"), "devices": ("serial0", "rtc0")}
    b = {"metadata": images(kernel="4567") | spec("[vm]\nmemory = 2\n"), "devices": ("rtc0", "serial0")}
    status, text = diff(ROWS, ROWS, "--json", ours=a, theirs=b)
    assert status == 0
    assert {row["key"]: (row["a"], row["b"]) for row in json.loads(text)["metadata"]} == {
        "spec.vm.memory": ("1", "2"),
        "images.kernel.sha256": ('"0123"', '"4567"'),
        "devices": ('["serial0", "rtc0"]', '["rtc0", "serial0"]'),
    }


def test_the_names_of_the_traces_are_no_difference(diff):
    named = [
        {"metadata": spec(f"[trace]\npath = '{name}'\n") | {"vmrun.overrides": f'["trace.path={name}", "vm.vcpus=2"]'}}
        for name in ("a.arrow", "b.arrow")
    ]
    assert json.loads(diff(ROWS, ROWS, "--json", ours=named[0], theirs=named[1])[1])["metadata"] == []


@pytest.mark.parametrize("images", ['{"kernel": 1}', "[]", "{", "null", '"x"', "[" * 5000])
def test_strange_metadata_is_compared_as_it_stands(diff, images):
    strange = {"metadata": METADATA | {"vmrun.images": images, "vmrun.overrides": "3"}}
    assert diff(ROWS, ROWS, theirs=strange)[0] == 0


@pytest.mark.parametrize("value", [10**400, -1, True, "long", None, [], {"a": [{}]}, float("nan")])
def test_a_strange_closing_summary_is_compared_as_it_stands(diff, value):
    strange = {"closing": dict.fromkeys(("duration_ns", "rows", "dropped", "result"), value)}
    status, text = diff(ROWS, ROWS, theirs=strange)
    assert status == 0
    assert "b.arrow: 100 exits" in text


def test_a_table_as_csv_and_as_parquet(diff, tmp_path):
    status, text = diff(ROWS, changed(50, data=1), "--csv", "--table", "differences")
    assert status == 1
    assert text.splitlines()[1] == '0,"changed",50,1,50,1'
    diff(ROWS, changed(50, data=1), "--parquet", str(tmp_path / "rows.parquet"), "--table", "rows")
    rows = pyarrow.parquet.read_table(tmp_path / "rows.parquet").to_pylist()
    assert [(row["mark"], row["row_a"], row["data"], row["differs"]) for row in rows][3:5] == [
        ("-", 50, ROWS[50]["data"], ["data"]),
        ("+", 50, 1, ["data"]),
    ]


@pytest.mark.parametrize("table", ["vcpus", "rows", "differences", "metadata"])
def test_any_table_fits_a_terminal(diff, table):
    status, text = diff(ROWS, changed(50, data=1), "--table", table)
    assert status == 1
    assert max(map(len, text.splitlines())) <= 100
    assert ("row_b" in text) == (table == "differences")


def test_empty_traces_are_equal(diff):
    status, text = diff([], [])
    assert status == 0
    assert "EQUAL: all 0 exits" in text


def test_an_incomplete_trace_is_said_to_be(diff):
    _, text = diff(ROWS, ROWS, theirs={"closing": {"complete": False}})
    assert "B is not complete" in text


def test_names_from_a_file_do_not_reach_the_terminal_raw(diff):
    evil = "serial\x1b[2J"
    _, text = diff([row | {"device": evil} for row in ROWS], ROWS, ours={"devices": (evil,)})
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--ignore", "colour"], "no column 'colour'"),
        (["--ignore", "reason,rip,addr,size,count,direction,data,payload,device,vector"], "nothing is left"),
        (["--against", "a.arrow"], "--against goes with --stat"),
        (["--stat"], "--stat needs the runs of the other side"),
        (["--table", "none"], "there is no table 'none'"),
    ],
)
def test_a_wrong_call(diff, options, words):
    status, text = diff(ROWS, ROWS, *options)
    assert status == 2
    assert words in text


@pytest.mark.parametrize(
    "options",
    [["--context", "-1"], ["--resync", "x"], ["--threshold", "x"], ["--threshold", "-5%"], ["--noise", "nan"]],
)
def test_numbers_that_are_none(options):
    with pytest.raises(SystemExit) as raised:
        main(["diff", "a.arrow", "b.arrow", *options])
    assert raised.value.code == 2


def test_one_trace_or_three(tmp_path, capsys):
    path = str(write_trace(tmp_path / "a.arrow", ROWS))
    assert main(["diff", path]) == 2
    assert main(["diff", path, path, path]) == 2
    assert "give two traces, not 3" in capsys.readouterr().err


def test_a_damaged_trace(diff, tmp_path, capsys):
    diff(ROWS, ROWS)
    whole = (tmp_path / "a.arrow").read_bytes()
    (tmp_path / "b.arrow").write_bytes(whole[: len(whole) // 2])
    assert main(["diff", str(tmp_path / "a.arrow"), str(tmp_path / "b.arrow")]) == 2
    assert capsys.readouterr().err.startswith("vmtrace: ")


def test_recorded_traces(tmp_path):
    """As the recorder writes them, of two vCPUs."""
    records = [[exit_(1000 * t + vcpu, data=bytes([t % 7 + vcpu])) for t in range(50)] for vcpu in range(2)]
    record_all(tmp_path / "a.arrow", records)
    later = [[exit_(1500 * t + 3 - vcpu, data=bytes([t % 7 + vcpu])) for t in range(50)] for vcpu in range(2)]
    record_all(tmp_path / "b.arrow", later)
    assert main(["diff", str(tmp_path / "a.arrow"), str(tmp_path / "b.arrow")]) == 0


@pytest.mark.long
@pytest.mark.parametrize("rows", [80_000, pytest.param(1_000_000, marks=pytest.mark.soak)])
def test_one_bit_in_very_many_rows(tmp_path, capsys, rows):
    row = random.Random().randrange(rows)
    longtrace.write(tmp_path / "a.arrow", rows)
    longtrace.write(tmp_path / "b.arrow", rows, flip=row)
    assert main(["diff", "--json", str(tmp_path / "a.arrow"), str(tmp_path / "b.arrow")]) == 1
    assert json.loads(capsys.readouterr().out)["differences"] == [
        {"vcpu": row % 2, "kind": "changed", "row_a": row // 2, "rows_a": 1, "row_b": row // 2, "rows_b": 1}
    ]


@pytest.mark.kvm
def test_two_runs_of_a_deterministic_guest_are_equal(tmp_path, capsys):
    import runner

    spec_file = str(ROOT / "examples" / "hello" / "hello.toml")
    for name in ("a.arrow", "b.arrow"):
        runner.run(spec_file, overrides=(f"trace.path={tmp_path / name}",))
    capsys.readouterr()
    assert main(["diff", str(tmp_path / "a.arrow"), str(tmp_path / "b.arrow")]) == 0
    assert "EQUAL: all 3 exits" in capsys.readouterr().out


def test_equal_traces_have_no_tables_of_zeros(tmp_path, capsys):
    write_trace(tmp_path / "a.arrow", [exit_row(data=byte) for byte in b"hello"])
    assert main(["diff", str(tmp_path / "a.arrow"), str(tmp_path / "a.arrow")]) == 0
    assert capsys.readouterr().out.rstrip().splitlines()[-1].startswith("EQUAL: all 5 exits")


def printing(text, **more):
    """The rows of a driver that polls before each byte."""
    poll = {"addr": 0x3FD, "direction": "read", "data": 0x60}
    return [exit_row(**values, **more) for byte in text.encode() for values in (poll, {"data": byte})]


def test_numbers_may_differ_in_console_lines(tmp_path, capsys):
    hlt = exit_row(reason="hlt", addr=0, size=0, count=0, direction="none", data=0, device="-")
    a = [*printing("[    9.99] mem 0xff00 x86\n"), hlt, *printing("done\n"), hlt]
    b = [*printing("[   10.001] mem 0x1ff00 x86\n"), hlt, *printing("done\n"), hlt]
    c = [*printing("[   10.001] mem 0x1ff00 x86\n"), hlt, *printing("failed\n"), hlt]
    for name, rows in (("a", a), ("b", b), ("c", c)):
        write_trace(tmp_path / f"{name}.arrow", rows)
    files = {name: str(tmp_path / f"{name}.arrow") for name in "abc"}
    assert main(["diff", files["a"], files["b"]]) == 1
    assert "console of A there: [    9.99] mem 0xff00 x86" in capsys.readouterr().out
    assert main(["diff", "--mask-numbers", files["a"], files["b"]]) == 0
    assert "EQUAL: all 4 exits" in capsys.readouterr().out
    assert main(["diff", "--mask-numbers", files["b"], files["c"]]) == 1
    shown = capsys.readouterr().out
    assert "console of A there: done" in shown
    assert re.search(r"- +2 .*\[done\].*\n.*\+ +2 .*\[failed\]", shown)
    assert "console of B there: failed" in shown


def test_masked_lines_and_the_console_of_each_are_in_json(tmp_path, capsys):
    files = []
    for name, end in (("a", "done"), ("b", "failed")):
        files.append(str(write_trace(tmp_path / f"{name}.arrow", printing(f"[    9.99] boot {name}\n{end} 7\n"))))
    assert main(["diff", "--mask-numbers", "--json", *files]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [(row["mark"], row["line"]) for row in found["rows"]] == [
        ("-", "[#.#] boot a"), ("+", "[#.#] boot b"), ("-", "done#"), ("+", "failed#"),
    ]  # fmt: skip
    assert [(row["console_a"], row["console_b"]) for row in found["vcpus"]] == [
        ("[    9.99] boot a", "[    9.99] boot b")
    ]
    assert main(["diff", "--json", *files]) == 1
    assert {row["line"] for row in json.loads(capsys.readouterr().out)["rows"]} == {None}
