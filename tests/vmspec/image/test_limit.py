"""The limit of the cache of unpacked kernels."""

import os
import time
from pathlib import Path

import pytest

from vmspec.image import limit
from vmspec.image.limit import IN_USE, UNUSED, trim

DAY = 24 * 3600


@pytest.fixture
def entry(tmp_path, monkeypatch):
    """Make an entry of so many KiB, read so many days ago; ``name`` is one character, or a whole name."""
    monkeypatch.setattr(limit, "LARGEST", 100 << 10)

    def make(name, kib, days):
        path = tmp_path / (name * 64 if len(name) == 1 else name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(os.urandom(kib << 10))
        os.utime(path, (time.time() - days * DAY, time.time() - days * DAY))
        return path

    return make


def left(home):
    trim(home)
    return sorted(path.name[0] for path in home.iterdir() if path.is_file())


def test_those_read_last_stay_as_many_as_fit(tmp_path, entry):
    entry("a", 4, 4)
    entry("b", 44, 3)
    entry("c", 60, 2)
    assert left(tmp_path) == ["c"]


def test_those_that_fit_stay(tmp_path, entry):
    entry("a", 40, 3)
    entry("b", 60, 2)
    assert left(tmp_path) == ["a", "b"]


def test_what_a_run_may_be_about_to_read_stays(tmp_path, entry):
    assert IN_USE == DAY
    entry("a", 100, 0.9)
    entry("b", 100, 0.5)
    entry("c", 100, 1.1)
    assert left(tmp_path) == ["a", "b"]


def test_holes_do_not_count(tmp_path, entry):
    path = entry("a", 4, 0)
    read = path.stat()
    os.truncate(path, 1 << 30)
    os.utime(path, ns=(read.st_atime_ns, read.st_mtime_ns))
    entry("b", 4, 3)
    assert left(tmp_path) == ["a", "b"]


def test_those_that_nobody_reads_are_removed(tmp_path, entry):
    assert UNUSED == 30 * DAY
    entry("a", 4, 29.9)
    entry("b", 4, 30.1)
    assert left(tmp_path) == ["a"]


def test_what_killed_processes_leave_is_removed(tmp_path, entry):
    entry("tmpab12", 4, 1.1)
    entry("umpab12", 4, 0.9)
    assert left(tmp_path) == ["u"]


def test_old_hashes_of_files_are_removed(tmp_path, entry):
    old, new = entry("by-file/1-2", 1, 30.1), entry("by-file/3-4", 1, 29.9)
    trim(tmp_path)
    assert (old.exists(), new.exists()) == (False, True)


def test_a_directory_that_is_not_there_is_no_error():
    trim(Path("/nowhere/at/all"))
