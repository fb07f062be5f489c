"""Folders in the cache."""

import hashlib
import os
from contextlib import ExitStack

import pytest

from vmspec.bundle import limit, store
from vmspec.bundle.store import Content, held, intact, place

LARGE = b"disk".ljust(store.SHARED_MIN, b"\1")


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return place("bundles")


def content(data):
    return Content(len(data), hashlib.sha256(data).hexdigest())


def keep(folder, stack=None, **files):
    """Store files by their names, and use them until the stack closes; return their contents."""

    def fill(new):
        for name, data in files.items():
            (new / name).write_bytes(data)

    declared = {name: content(data) for name, data in files.items()}
    with ExitStack() as briefly:
        held(folder, declared, fill, briefly if stack is None else stack)
    assert intact(folder, declared)
    assert {name: (folder / name).read_bytes() for name in files} == files
    return declared


def inode(path):
    return path.stat().st_ino


def test_large_files_of_the_same_content_are_one(home):
    keep(home / "a", disk=LARGE, small=b"s")
    keep(home / "b", other=LARGE, again=LARGE, small=b"s")
    assert len({inode(path) for path in (home / "a/disk", home / "b/other", home / "b/again")}) == 1
    assert inode(home / "a/small") != inode(home / "b/small")
    assert [path.name for path in home.with_name("contents").iterdir()] == [content(LARGE).sha256]


def test_a_content_that_no_folder_has_is_removed(home):
    keep(home / "a", disk=LARGE)
    (home / "a/disk").unlink()
    keep(home / "b", small=b"s")
    assert [*home.with_name("contents").iterdir()] == []


def test_a_content_that_was_changed_is_not_shared(home):
    declared = keep(home / "a", disk=LARGE)
    (home / "a/disk").write_bytes(LARGE[::-1])
    assert not intact(home / "a", declared)
    keep(home / "b", disk=LARGE)
    keep(home / "a", disk=LARGE)
    assert inode(home / "a/disk") == inode(home / "b/disk")


def test_a_file_system_without_links_has_copies(home, monkeypatch):
    def link(*arguments):
        raise OSError(1, "not permitted")

    monkeypatch.setattr("os.link", link)
    keep(home / "a", disk=LARGE)
    keep(home / "b", disk=LARGE)


def test_a_folder_that_cannot_be_filled_leaves_nothing(home):
    def fill(new):
        (new / "x").write_bytes(b"x")
        raise OSError(28, "no space")

    with pytest.raises(OSError, match="no space"), ExitStack() as stack:
        held(home / "a", {}, fill, stack)
    assert [*home.iterdir()] == []


def test_a_use_is_the_folders_time(home):
    keep(home / "a", disk=b"d")
    os.utime(home / "a", (1, 1))
    made = inode(home / "a")
    keep(home / "a", disk=b"d")
    assert (inode(home / "a"), (home / "a").stat().st_mtime > 1) == (made, True)


def test_a_new_folder_makes_those_beyond_the_limit_go_unless_they_are_in_use(home, monkeypatch):
    monkeypatch.setattr(limit, "LARGEST", len(LARGE) * 3 // 2)
    with ExitStack() as stack:
        keep(home / "used", stack, disk=LARGE)
        keep(home / "a", disk=LARGE[::-1])
        keep(home / "b", disk=LARGE.swapcase() + b"b")
        assert sorted(path.name for path in home.iterdir()) == ["b", "used"]
    contents = {path.name for path in home.with_name("contents").iterdir()}
    assert contents == {content(LARGE).sha256, content(LARGE.swapcase() + b"b").sha256}
