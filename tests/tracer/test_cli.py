"""The command: its output, its exit statuses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.tracefakes import Rings, exit_, numbered, record_all
from tracer.cli import main

ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path):
    """A trace that printed two lines."""
    record_all(
        tmp_path / "boot.arrow", [[exit_(1000 * t, data=bytes([byte])) for t, byte in enumerate(b"hello\nyou\n")]]
    )
    return tmp_path / "boot.arrow"


def test_summary(path, capsys):
    assert main(["summary", str(path)]) == 0
    assert capsys.readouterr().out.startswith("10 exits in ")


def test_summary_as_json(path, capsys):
    assert main(["summary", "--json", str(path)]) == 0
    assert json.loads(capsys.readouterr().out)["device"][0]["exits"] == 10


def test_timeline(path, capsys):
    assert main(["timeline", "--json", "--in-order", str(path)]) == 0
    assert [line["line"] for line in json.loads(capsys.readouterr().out)["lines"]] == ["hello", "you", None]


@pytest.mark.parametrize("text", ["x", "=x", "x=", "("])
def test_a_phase_that_is_none_is_refused(path, capsys, text):
    assert main(["timeline", str(path), "--phase", text if text != "(" else "x=("]) == 2
    assert text in capsys.readouterr().err


def test_a_narrow_terminal_gets_fewer_numbers_not_broken_names(path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "45")
    assert main(["hot", str(path)]) == 0
    output = capsys.readouterr().out
    assert "serial0" in output
    assert "exits" in output
    assert "p99" not in output


def test_a_long_word_on_the_console_is_cut_before_numbers_are_left_out(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    record_all(tmp_path / "boot.arrow", [[exit_(1000, data=b"=" * 90 + b"\n")]])
    assert main(["timeline", str(tmp_path / "boot.arrow"), "--table", "lines"]) == 0
    output = capsys.readouterr().out
    assert "handling" in output
    assert "====…" in output


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (["hot", "--collapsed", "--json"], "--collapsed is a format of its own"),
        (["timeline", "--phase", "a=b", "--phase", "a=c"], "'a' is given twice"),
        (["export", "--csv", "--weight", "time"], "--weight is for --collapsed"),
        (["events", "--json", "--columns", "time"], "--json always has all"),
        (["diff", "x", "--line", "boot"], "--line goes with --stat"),
        (["diff", "x", "--threshold", "0"], "--threshold goes with --stat"),
        (["diff", "--stat", "--against", "x", "--ignore", "rip"], "--ignore is for two traces"),
        (["diff", "--stat", "--against", "x", "--context", "0"], "--context is for two traces"),
    ],
)
def test_options_that_do_not_go_together(path, capsys, call, said):
    assert main([*call[:1], str(path), *call[1:]]) == 2
    assert said in capsys.readouterr().err


def test_csv_of_what_is_nested_or_bytes(path, capsys):
    assert main(["diff", str(path), str(path), "--table", "rows", "--csv"]) == 0
    query = "select list(seq order by seq) as seqs, first('a'::blob) as bytes from exits where seq < 2"
    assert main(["sql", str(path), query, "--csv"]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == ['"seqs","bytes"', '"[""0x0"", ""0x1""]","61"']


def test_equal_traces_have_phases(path, capsys):
    assert main(["diff", str(path), str(path), "--table", "phases", "--json"]) == 0
    assert [row["phase"] for row in json.loads(capsys.readouterr().out)["phases"]] == ["the whole run"]


def test_what_lies_in_the_place_of_a_trace_is_told(path, tmp_path, capsys):
    assert main(["convert", str(path), str(tmp_path / "boot.parquet")]) == 0
    assert main(["convert", str(path), str(tmp_path / "going.arrows")]) == 0
    assert main(["summary", str(tmp_path / "boot.parquet")]) == 2
    assert main(["summary", str(tmp_path / "going.arrow")]) == 2
    parquet, going = capsys.readouterr().err.splitlines()
    assert f"vmtrace convert {tmp_path}/boot.parquet" in parquet
    assert f"vmtrace recover {tmp_path}/going.arrow" in going


def test_hot_as_folded_stacks(path, capsys):
    assert main(["hot", "--collapsed", str(path)]) == 0
    assert capsys.readouterr().out == "serial0;io;[not_known] 10\n"


@pytest.mark.parametrize("call", [["--by", "colour"], ["--kaslr", "far"], ["--kaslr", "-1"], ["--symbols", "/none"]])
def test_a_wrong_call_of_hot_is_refused(path, capsys, call):
    assert main(["hot", str(path), *call]) == 2
    assert call[1] in capsys.readouterr().err


def test_info_of_a_trace_without_a_lock(path, capsys):
    assert main(["info", "--lock", str(path)]) == 2
    assert "has no lock" in capsys.readouterr().err


def test_info(path, capsys):
    assert main(["info", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["rows", "10"]
    assert lines[1].split()[:2] == ["complete", "yes:"]
    assert '  name = "fake"' in lines


def test_console_is_bytes(path, capfdbinary):
    assert main(["console", str(path)]) == 0
    assert capfdbinary.readouterr().out == b"hello\nyou\n"


def test_recover_says_what_it_did(tmp_path, capsys):
    rings = Rings(1, file=tmp_path / "boot.ring")
    for number in range(5):
        rings.produce(0, numbered(0, number))
    assert main(["recover", str(tmp_path / "boot.ring")]) == 0
    output = capsys.readouterr().out
    assert output == (
        f"{tmp_path}/boot.arrow: 5 rows (5 of them from the rings), everything recorded before the run was killed\n"
        f"no longer needed: {tmp_path}/boot.ring\n"
    )


def test_recover_elsewhere(tmp_path):
    rings = Rings(1, file=tmp_path / "boot.ring")
    rings.produce(0, numbered(0, 0))
    assert main(["recover", str(tmp_path / "boot.ring"), "-o", str(tmp_path / "saved.arrow")]) == 0
    assert sorted(file.name for file in tmp_path.iterdir()) == ["boot.ring", "saved.arrow"]


@pytest.mark.parametrize("command", ["summary", "timeline", "hot", "info", "console", "recover", "events", "top"])
def test_a_file_that_is_not_there_is_status_2_and_one_line(tmp_path, capsys, command):
    assert main([command, str(tmp_path / "no.arrow")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("vmtrace: ")
    assert error.count("\n") == 1


def test_a_wrong_call_is_status_2(path, capsys):
    with pytest.raises(SystemExit) as raised:
        main(["summary", "--frobnicate"])
    assert raised.value.code == 2
    capsys.readouterr()
    for word, said in (("sumary", "did you mean summary?"), (str(path), f"vmtrace summary {path}"), ("x", "there are")):
        assert main([word]) == 2
        assert said in capsys.readouterr().err


def test_a_later_run_beside_the_trace_is_pointed_out(path, capsys):
    stream = path.with_suffix(".arrows")
    stream.write_bytes(b"")
    path.with_suffix(".ring").write_bytes(b"")
    later = path.stat().st_mtime_ns + 10**9  # two files made one after the other may have the same time
    os.utime(stream, ns=(later, later))
    assert main(["info", str(path)]) == 0
    assert f"{path}s also exists" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["summary", "timeline", "hot", "info", "console", "events", "top"])
def test_a_reader_that_goes_away_is_no_traceback(path, command):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "tracer.cli", command, str(path)]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, cwd=ROOT, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("command", ["summary", "console", "events", "top"])
def test_a_full_disk_is_said_and_is_status_2(path, command):
    with Path("/dev/full").open("wb") as full:
        call = [sys.executable, "-m", "tracer.cli", command, str(path)]
        done = subprocess.run(call, stdout=full, stderr=subprocess.PIPE, cwd=ROOT, check=False)
    assert (done.returncode, done.stderr) == (2, b"vmtrace: cannot write the result: No space left on device\n")


@pytest.mark.parametrize("command", ["summary", "console"])
def test_a_closed_standard_output(path, command):
    program = f"import os; os.close(1); os.execv({sys.executable!r}, os.sys.argv[1:])"
    call = [sys.executable, "-m", "tracer.cli", command, str(path)]
    done = subprocess.run([sys.executable, "-c", program, *call], stderr=subprocess.PIPE, cwd=ROOT, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_an_interrupt_is_status_130_and_keeps_what_was_found(path, capsys, monkeypatch):
    def interrupted(options):
        print("found")
        raise KeyboardInterrupt

    monkeypatch.setattr("tracer.commands.info.run", interrupted)
    assert main(["info", str(path)]) == 130
    assert capsys.readouterr() == ("found\n", "")


def test_a_trace_goes_where_a_link_leads_and_into_no_pipe(path, tmp_path, capsys):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link.arrow").symlink_to("elsewhere/copy.arrow")
    assert main(["convert", str(path), str(tmp_path / "link.arrow")]) == 0
    assert (tmp_path / "link.arrow").is_symlink()
    assert (tmp_path / "elsewhere" / "copy.arrow").is_file()
    os.mkfifo(tmp_path / "pipe.arrow")
    assert main(["convert", str(path), str(tmp_path / "pipe.arrow")]) == 2
    assert "it exists, and is not a file" in capsys.readouterr().err
