"""A command never writes to a file that it reads, under any name."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.tracefakes import METADATA, exit_, record_all
from tracer.cli import main
from tracer.format.errors import TraceError
from tracer.read.recovery import recover
from vmspec.host import atomic

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path):
    """A trace, a.arrow, with other names: s is a link to it, h a hard link, d the folder; and a second one, b.arrow."""
    for name in ("a", "b"):
        record_all(tmp_path / f"{name}.arrow", [[exit_(1000 * t, data=b"x") for t in range(10)]])
    (tmp_path / "s.arrow").symlink_to("a.arrow")
    (tmp_path / "h.arrow").hardlink_to(tmp_path / "a.arrow")
    (tmp_path / "d").symlink_to(".")
    return tmp_path


NAMES = ("a.arrow", "s.arrow", "h.arrow", "d/a.arrow")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "command",
    [
        ["convert", "a.arrow"],
        ["merge", "b.arrow", "a.arrow", "-o"],
        ["export", "a.arrow", "--csv", "-o"],
        ["export", "a.arrow", "--parquet", "-o"],
        ["report", "a.arrow", "-o"],
        ["summary", "a.arrow", "--parquet"],
        ["diff", "b.arrow", "a.arrow", "--parquet"],
        ["sql", "a.arrow", "select 1", "--parquet"],
    ],
    ids=lambda command: " ".join(command[:3]),
)
def test_a_trace_is_not_overwritten_by_what_is_made_of_it(folder, monkeypatch, capsys, command, name):
    monkeypatch.chdir(folder)
    before = Path(name).read_bytes()
    assert main([*command, name]) == 2
    assert f"writing {name} would overwrite " in capsys.readouterr().err
    assert Path(name).read_bytes() == before


def test_symbols_are_not_overwritten(folder, capsys):
    symbols = folder / "map"
    symbols.write_text("0000000000001000 T start\n0000000000002000 T end\n")
    assert main(["hot", str(folder / "a.arrow"), "--symbols", str(symbols), "--parquet", str(folder / "d/map")]) == 2
    assert symbols.read_text().endswith("T end\n")


@pytest.mark.parametrize("named", [False, True])
def test_a_file_that_has_the_name_of_a_temporary_one_stays(folder, capsys, monkeypatch, named):
    if named:  # as on file systems without files that have no name
        monkeypatch.setattr(atomic, "_nameless", lambda directory: None)
    source = folder / f"c.arrow.{os.getpid()}.tmp"
    (folder / "a.arrow").rename(source)
    before = source.read_bytes()
    assert main(["convert", str(source), str(folder / "c.arrow")]) == 0
    assert source.read_bytes() == before
    assert len(list(folder.glob("*.tmp"))) == 1


def test_a_link_left_where_a_file_is_written_first_is_not_followed(folder, capsys):
    (folder / "keep").write_text("kept")
    (folder / "c.arrow.tmp").symlink_to("keep")
    assert main(["convert", str(folder / "a.arrow"), str(folder / "c.arrow")]) == 0
    assert (folder / "keep").read_text() == "kept"


def test_standard_output_that_is_the_trace(folder):
    before = (folder / "a.arrow").read_bytes()
    with (folder / "a.arrow").open("ab") as out:
        command = [sys.executable, "-m", "tracer.cli", "export", "--csv", folder / "s.arrow", "-o", "-"]
        done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, cwd=ROOT, check=False, text=True)
    assert (done.returncode, "writing standard output would overwrite" in done.stderr) == (2, True)
    assert (folder / "a.arrow").read_bytes() == before


def test_the_report_does_not_overwrite_the_kernel(tmp_path, capsys, monkeypatch):
    kernel = tmp_path / "vmlinuz"
    kernel.write_text("a kernel")
    spec = f'[vm]\nname = "fake"\n[boot]\nkernel = {json.dumps(str(kernel))}\n'
    monkeypatch.setitem(METADATA, "vmrun.spec", spec)
    record_all(tmp_path / "a.arrow", [[exit_(1)]])
    (tmp_path / "a.html").symlink_to(kernel)
    assert main(["report", str(tmp_path / "a.arrow")]) == 2
    assert kernel.read_text() == "a kernel"


@pytest.mark.parametrize("name", ["a.arrows", "a.ring", "s", "d/a.ring"])
def test_what_is_recovered_from_is_left_alone(folder, name):
    (folder / "a.arrows").write_text("a stream")
    (folder / "a.ring").write_text("a ring")
    (folder / "s").symlink_to("a.arrows")
    with pytest.raises(TraceError, match="would overwrite"):
        recover(folder / "a.arrow", folder / name)
    assert (folder / "a.arrows").read_text() + (folder / "a.ring").read_text() == "a streama ring"
