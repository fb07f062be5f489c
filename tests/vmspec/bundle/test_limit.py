"""The limit of the cache of bundles."""

import fcntl
import os
import time
from contextlib import ExitStack

import pytest

from vmspec.bundle import limit
from vmspec.bundle.limit import UNUSED, trim
from vmspec.host.scratch import lock

DAY = 24 * 3600


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Make a folder with so many KiB, used so many days ago."""
    monkeypatch.setattr(limit, "LARGEST", 100 << 10)

    def make(name, kib, days):
        path = tmp_path / name
        path.mkdir()
        (path / "below").mkdir()
        (path / "below/file").write_bytes(os.urandom(kib << 10))
        used = time.time() - days * DAY
        os.utime(path, (used, used))
        return path

    return make


def left(home):
    trim(home, ".new-")
    return sorted(path.name for path in home.iterdir())


def test_those_used_last_stay_as_many_as_fit(tmp_path, folder):
    folder("oldest", 4, 3)
    folder("old", 44, 2)
    folder("new", 60, 1)
    assert left(tmp_path) == ["new"]


def test_those_that_fit_stay(tmp_path, folder):
    folder("old", 40, 2)
    folder("new", 60, 1)
    assert left(tmp_path) == ["new", "old"]


def test_a_file_that_folders_share_counts_once(tmp_path, folder):
    old = folder("old", 4, 2)
    used = old.stat()
    (old / "shared").hardlink_to(folder("new", 80, 1) / "below/file")
    os.utime(old, ns=(used.st_atime_ns, used.st_mtime_ns))
    assert left(tmp_path) == ["new", "old"]


def test_holes_do_not_count(tmp_path, folder):
    os.truncate(folder("old", 4, 2) / "below/file", 1 << 30)
    folder("new", 4, 3)
    assert left(tmp_path) == ["new", "old"]


def test_those_without_a_use_are_removed(tmp_path, folder):
    assert UNUSED == 30 * DAY
    folder("a", 4, 29.9)
    folder("b", 4, 30.1)
    assert left(tmp_path) == ["a"]


def test_one_in_use_stays(tmp_path, folder):
    used = folder("used", 4, 90)
    folder("large", 200, 1)
    with ExitStack() as stack:
        assert lock(used, stack, fcntl.LOCK_SH)
        assert left(tmp_path) == ["used"]
    assert left(tmp_path) == []


def test_one_that_is_being_filled_is_left_to_its_process(tmp_path, folder):
    folder(".new-a", 200, 90)
    folder("a", 4, 1)
    assert left(tmp_path) == [".new-a", "a"]
