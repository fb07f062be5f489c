"""``vmtrace export``: where the file goes, and what happens when it cannot."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.comparefakes import exit_row, write_trace
from tests.tracer.export.exportfakes import exported, some_rows, with_tracepoints
from tracer.cli import main

ROOT = Path(__file__).parents[3]
FORMATS = ("perfetto", "chrome", "collapsed", "parquet", "csv", "pcap")


@pytest.mark.parametrize("format_", FORMATS)
def test_standard_output_is_the_same_as_a_file(tmp_path, capfdbinary, format_):
    path = exported(tmp_path, format_)
    capfdbinary.readouterr()
    assert main(["export", str(tmp_path / "trace.arrow"), f"--{format_}", "-o", "-"]) == 0
    assert capfdbinary.readouterr().out == path.read_bytes()


def test_the_default_is_beside_the_trace(tmp_path, capsys):
    path = write_trace(tmp_path / "a.arrow", some_rows())
    assert main(["export", str(path), "--collapsed"]) == 0
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.arrow", "a.folded"]
    assert capsys.readouterr().err.startswith(f"{tmp_path}/a.folded: ")


def test_a_trace_is_not_written_over_itself(tmp_path, capsys):
    path = write_trace(tmp_path / "a.arrow", some_rows())
    assert main(["export", str(path), "--csv", "-o", str(path)]) == 2
    assert "would overwrite" in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.parametrize("format_", FORMATS)
def test_a_full_disk_leaves_nothing(tmp_path, format_):
    trace = write_trace(tmp_path / "a.arrow", [exit_row(data=n % 251, rip=n * n) for n in range(2000)])
    (tmp_path / "out").write_text("what was there before")

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (16, 16))

    command = [sys.executable, "-m", "tracer.cli", "export", str(trace), f"--{format_}", "-o", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, preexec_fn=limit)
    assert done.returncode == 2
    assert done.stderr.startswith(f"vmtrace: cannot write {tmp_path}/out: ")
    assert done.stderr.count("\n") == 1
    assert (tmp_path / "out").read_text() == "what was there before"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.arrow", "out"]


@pytest.mark.parametrize("format_", FORMATS)
def test_a_damaged_trace_leaves_nothing(tmp_path, capsys, format_):
    trace = write_trace(tmp_path / "a.arrow", [exit_row(data=n) for n in range(2000)])
    data = bytearray(trace.read_bytes())
    for at in range(len(data) // 3, len(data) // 2):
        data[at] ^= 0xA5
    trace.write_bytes(data)
    assert main(["export", str(trace), f"--{format_}", "-o", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith("vmtrace: ")
    assert list(tmp_path.iterdir()) == [trace]


@pytest.mark.long
@pytest.mark.parametrize("format_", FORMATS)
def test_a_reader_that_goes_away_is_no_traceback(tmp_path, format_):
    trace = write_trace(tmp_path / "a.arrow", [exit_row(data=n % 251) for n in range(5000)])
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "tracer.cli", "export", str(trace), f"--{format_}", "-o", "-"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, cwd=ROOT, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_folder_that_is_not_there(tmp_path, capsys):
    trace = write_trace(tmp_path / "a.arrow", [])
    assert main(["export", str(trace), "--csv", "-o", str(tmp_path / "no" / "out.csv")]) == 2
    assert "No such file or directory" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--csv", "--chrome"], ["--svg"]])
def test_one_format_must_be_chosen(arguments):
    with pytest.raises(SystemExit) as raised:
        main(["export", "a.arrow", *arguments])
    assert raised.value.code == 2


def test_an_export_of_exits_says_where_tracepoints_are(tmp_path, capsys):
    with_tracepoints(tmp_path, "csv")
    assert "--table tracepoints writes them" in capsys.readouterr().err
    assert main(["export", str(tmp_path / "trace.arrow"), "--csv", "--table", "tracepoints"]) == 0
    assert capsys.readouterr().err.startswith(f"{tmp_path}/trace.tracepoints.csv: ")


def test_a_table_is_chosen_only_where_a_format_has_one(tmp_path, capsys):
    path = write_trace(tmp_path / "a.arrow", [])
    assert main(["export", str(path), "--chrome", "--table", "tracepoints"]) == 2
    assert main(["export", str(path), "--csv", "--table", "tracepoints"]) == 2
    assert "trace.tracepoints = true" in capsys.readouterr().err
