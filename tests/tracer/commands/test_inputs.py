"""``vmtrace inputs`` and its counts."""

import json

import pytest

import tracer
from tests.fakes.tracefakes import DEVICES, METADATA, exit_, record_all
from tracer.analysis.inputs import by_kind, listed
from tracer.cli import main
from tracer.format.errors import TraceError
from tracer.record.rowrecorder import RowRecorder
from vmspec.trace import keys
from vmspec.trace.files import table_path
from vmspec.trace.inputs import INPUTS, Input

ROWS = [
    Input(100, 0, 1, "bytes", 0, 0, b"ab\x1b"),
    Input(200, 0, 2, "interrupt", 0, 1, b""),
    Input(150, 0, 1, "timer", 1, 0, b""),
    Input(300, 0, 5, "bytes", 0, 0, b"c"),
    Input(400, 0, 9, "end", -1, 0, b"timeout"),
]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "boot.arrow"
    record_all(path, [[exit_(1)]])
    recorder = RowRecorder(path, INPUTS, DEVICES, {keys.CLOCK: METADATA[keys.CLOCK]}, pytest.fail)
    for row in ROWS:
        recorder.put(row)
    recorder.start()
    recorder.finish()
    return path


def test_inputs_are_counted_by_kind_and_device(path):
    one, two = DEVICES[:2]
    rows = [tuple(row.values()) for row in by_kind(tracer.load(path).tables.need("inputs")).to_pylist()]
    assert rows == [
        ("bytes", one, 2, 4, 100, 300),
        ("timer", two, 1, 0, 150, 150),
        ("interrupt", one, 1, 0, 200, 200),
        ("end", "-", 1, 0, 400, 400),
    ]


def test_inputs_are_in_the_order_in_which_they_came(path):
    rows = listed(tracer.load(path).tables.need("inputs"))
    assert rows["t_ns"].to_pylist() == [100, 150, 200, 300, 400]
    assert rows["data"].to_pylist() == [b"ab\x1b", b"", b"", b"c", b"timeout"]


def test_the_command_prints_both_tables(path, capsys):
    assert main(["inputs", str(path)]) == 0
    shown = capsys.readouterr().out
    assert all(row.kind in shown for row in ROWS)
    assert "61 62 1b" in shown
    assert "ab\\x1b" in shown
    assert "\x1b" not in shown


def test_json_has_numbers_as_numbers(path, capsys):
    assert main(["inputs", str(path), "--json"]) == 0
    last = json.loads(capsys.readouterr().out)["inputs"][-1]
    assert last == {
        "t_ns": 400, "vcpu": 0, "seq": 9, "kind": "end", "device": "-", "value": 0,
        "data": b"timeout".hex(), "text": "timeout",
    }  # fmt: skip


def test_a_trace_without_inputs_says_how_to_record_them(tmp_path, capsys):
    record_all(tmp_path / "boot.arrow", [[exit_(1)]])
    with pytest.raises(TraceError, match="there are no inputs beside"):
        tracer.load(tmp_path / "boot.arrow").tables.need("inputs")
    assert main(["inputs", str(tmp_path / "boot.arrow")]) == 2
    assert "trace.inputs=true" in capsys.readouterr().err


def test_info_counts_the_tables_beside_the_exits(path, capsys):
    assert main(["info", str(path)]) == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert ["inputs", "5 rows, complete"] in lines


def test_info_says_of_a_damaged_table_what_is_wrong_with_it(path, capsys):
    table_path(path, "inputs").write_bytes(b"ARROW1" + bytes(99))
    assert main(["info", str(path)]) == 0
    assert str(table_path(path, "inputs")) in capsys.readouterr().out


def test_inputs_that_cannot_be_written_are_told_at_once_and_at_the_end(tmp_path):
    failures = []
    recorder = RowRecorder(
        tmp_path / "no" / "boot.arrow", INPUTS, DEVICES, {keys.CLOCK: METADATA[keys.CLOCK]}, failures.append
    )
    recorder.start()
    with pytest.raises(TraceError, match=r"cannot write the inputs, .*No such file or directory; they are lost"):
        recorder.finish()
    assert len(failures) == 1
