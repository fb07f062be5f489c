"""The hash of a file with holes."""

import errno
import hashlib
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmspec.lock import hashing
from vmspec.lock.hashing import sha256

BLOCK = 65536  # more than any file system's block


def hashed(path, size=None):
    done = []
    with path.open("rb") as file:
        length = path.stat().st_size if size is None else size
        digest = sha256(file.fileno(), length, done.append)
    assert sum(done) == length
    return digest


def written(path, blocks):
    """A file of blocks of data, and of holes where they are None."""
    with path.open("wb") as file:
        for at, block in enumerate(blocks):
            if block is not None:
                file.seek(at * BLOCK)
                file.write(block)
        file.truncate(len(blocks) * BLOCK)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("holes") / "disk"


@given(st.lists(st.none() | st.sampled_from([bytes(BLOCK), b"\1" * BLOCK, b"\2" + bytes(BLOCK - 1)]), max_size=6))
@settings(max_examples=40)
def test_the_same_content_has_the_same_hash_whatever_its_holes(place, blocks):
    written(place, blocks)
    assert hashed(place) == hashlib.sha256(b"".join(block or bytes(BLOCK) for block in blocks)).hexdigest()


def test_holes_are_not_read(tmp_path, monkeypatch):
    path = tmp_path / "disk"
    written(path, [None, b"\1" * BLOCK, None, None])
    if path.stat().st_blocks * 512 >= 4 * BLOCK:
        pytest.skip("this file system has no holes")
    read, pread = [], os.pread
    monkeypatch.setattr(os, "pread", lambda fd, size, at: read.append(at) or pread(fd, size, at))
    assert hashed(path) == hashlib.sha256(bytes(BLOCK) + b"\1" * BLOCK + bytes(2 * BLOCK)).hexdigest()
    assert read == [BLOCK]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOPNOTSUPP])
def test_a_file_system_that_does_not_tell_holes(tmp_path, monkeypatch, number):
    path = tmp_path / "disk"
    path.write_bytes(b"\1" * 100)

    def refuse(descriptor, at, whence):
        raise OSError(number, "no")

    monkeypatch.setattr(os, "lseek", refuse)
    assert hashed(path) == hashlib.sha256(b"\1" * 100).hexdigest()


def test_an_error_of_the_disk_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "disk").write_bytes(b"\1")

    def fail(*arguments):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "pread", fail)
    with pytest.raises(OSError, match="Input/output error"):
        hashed(tmp_path / "disk")


def test_a_file_that_becomes_shorter_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "disk").write_bytes(b"\1" * 10)
    monkeypatch.setattr(hashing, "extents", lambda descriptor, size: [(0, size, True)])
    with pytest.raises(OSError, match="shorter"):
        hashed(tmp_path / "disk", 20)
