"""Folders in the cache."""

import hashlib

import pytest

from vmspec.bundle import store
from vmspec.bundle.store import Content, intact, place, stored

LARGE = b"disk".ljust(store.SHARED_MIN, b"\1")


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return place("bundles")


def content(data):
    return Content(len(data), hashlib.sha256(data).hexdigest())


def keep(folder, **files):
    """Store files by their names; return their contents."""

    def fill(new):
        for name, data in files.items():
            (new / name).write_bytes(data)

    declared = {name: content(data) for name, data in files.items()}
    stored(folder, declared, fill)
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

    with pytest.raises(OSError, match="no space"):
        stored(home / "a", {}, fill)
    assert [*home.iterdir()] == []
