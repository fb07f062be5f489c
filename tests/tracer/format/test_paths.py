"""Names beside a trace, and the files that a killed run left."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tracer.format.errors import TraceError
from tracer.format.paths import set_aside
from vmspec.trace.files import ring_path, stream_path, trace_path


@pytest.mark.parametrize("name", ["boot.arrow", "boot.arrows", "boot.ring"])
def test_any_of_the_three_names_leads_to_all(name):
    path = Path("/x") / name
    found = (trace_path(path), stream_path(path), ring_path(path))
    assert found == (Path("/x/boot.arrow"), Path("/x/boot.arrows"), Path("/x/boot.ring"))


@pytest.mark.parametrize("name", ["boot", "boot.trace", "boot.arrow.old", ".arrow", ".ring"])
def test_another_suffix_is_part_of_the_name(name):
    path = Path("/x") / name
    assert (stream_path(path), ring_path(path)) == (Path(f"/x/{name}.arrows"), Path(f"/x/{name}.ring"))


def test_nothing_left_is_nothing_to_tell(tmp_path):
    assert set_aside(tmp_path / "boot.arrow") is None


def test_leftovers_get_another_name(tmp_path):
    (tmp_path / "boot.arrows").write_text("stream")
    (tmp_path / "boot.ring").write_text("ring")
    assert set_aside(tmp_path / "boot.arrow") == tmp_path / "boot.killed.ring"
    content = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert content == {"boot.killed.arrows": "stream", "boot.killed.ring": "ring"}


def test_leftovers_of_two_runs_are_never_mixed(tmp_path):
    (tmp_path / "boot.killed.ring").write_text("of an older run")
    (tmp_path / "boot.arrows").write_text("stream")
    assert set_aside(tmp_path / "boot.arrow") == tmp_path / "boot.killed.arrows"
    assert [path.name for path in tmp_path.iterdir()] == ["boot.killed.arrows"]


def test_the_files_of_a_live_run_are_left_alone(tmp_path):
    (tmp_path / "boot.arrows").touch()
    with (tmp_path / "boot.ring").open("w") as ring:
        fcntl.flock(ring, fcntl.LOCK_EX)
        with pytest.raises(TraceError, match="another vmrun is recording into"):
            set_aside(tmp_path / "boot.arrow")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["boot.arrows", "boot.ring"]


@pytest.mark.parametrize("name", ["boot.arrows", "boot.ring", "boot.tracepoints.arrows"])
def test_what_is_no_file_was_left_by_no_run(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(TraceError, match="is not a regular file"):
        set_aside(tmp_path / "boot.arrow")
    assert [path.name for path in tmp_path.iterdir()] == [name]


# Takes the lock and dies; its child holds the lock too, until it is asked to close the file.
KILLED = """
import fcntl, os, sys
ring = os.open(sys.argv[1], os.O_RDWR)
fcntl.flock(ring, fcntl.LOCK_EX)
if os.fork() == 0:
    sys.stdin.read()
    os.unlink(sys.argv[1])
    os._exit(0)
os._exit(0)
"""


def test_the_recorder_of_a_killed_run_is_waited_for(tmp_path, monkeypatch):
    ring = tmp_path / "boot.ring"
    ring.touch()
    with subprocess.Popen([sys.executable, "-c", KILLED, ring], stdin=subprocess.PIPE) as process:
        process.wait()
        monkeypatch.setattr("tracer.format.paths.time.sleep", lambda seconds: process.stdin.close())
        assert set_aside(tmp_path / "boot.arrow") is None
    assert list(tmp_path.iterdir()) == []
