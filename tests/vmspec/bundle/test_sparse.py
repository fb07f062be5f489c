"""Where the data of a file is, and the map of it."""

import io
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vmspec.bundle.folders import sparse as holey
from vmspec.bundle import sparse
from vmspec.bundle.sparse import SMALLEST, UNIT, Extent

SIZE = 2 * SMALLEST + 100


def data(path):
    descriptor = os.open(path, os.O_RDONLY)
    done = []
    try:
        found = sparse.data(descriptor, path.stat().st_size, done.append)
    finally:
        os.close(descriptor)
    assert sum(done) in (0, path.stat().st_size)
    return found


def test_the_data_of_a_file_is_what_is_not_zero_whatever_the_file_system_has(tmp_path):
    parts = {UNIT + 5: b"x", 3 * UNIT: b"y" * (UNIT + 1), SIZE - 1: b"z"}
    content = holey(tmp_path / "holes", SIZE, parts)
    (tmp_path / "full").write_bytes(content)
    last = SIZE - SIZE % UNIT
    wanted = (Extent(UNIT, UNIT), Extent(3 * UNIT, 2 * UNIT), Extent(last, SIZE - last))
    assert (data(tmp_path / "holes"), data(tmp_path / "full")) == (wanted, wanted)


@pytest.mark.parametrize("size", [0, 1, SMALLEST - 1])
def test_a_small_file_has_no_holes(tmp_path, size):
    holey(tmp_path / "x", size, {})
    assert data(tmp_path / "x") == sparse.whole(size)


def test_a_file_of_zeros_is_one_hole(tmp_path):
    holey(tmp_path / "x", SIZE, {})
    assert data(tmp_path / "x") == ()


def test_a_large_disk_has_a_short_map(tmp_path):
    size = 1 << 40
    with (tmp_path / "x").open("wb") as file:
        file.truncate(size)
        for at in range(64):
            os.pwrite(file.fileno(), b"x", at * (size // 64))
    found = data(tmp_path / "x")
    assert (len(found), found[0].size, len(sparse.written(found, size))) == (64, size // sparse.UNITS_MAX, 1536)


extents = st.lists(st.tuples(st.integers(0, 1 << 40), st.integers(1, 1 << 40)), max_size=40)


@given(extents, st.integers(0, 1 << 20))
def test_a_map_reads_back(parts, hole):
    at, found = 0, []
    for gap, size in parts:
        found.append(Extent(at + gap, size))
        at += gap + size
    text = sparse.written(tuple(found), at + hole)
    assert sparse.read(io.BytesIO(text).read, at + hole, len(text)) == (text, tuple(found))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "begins with no number"),
        (b"0\n", "begins with no number"),
        (b"-1\n", "begins with no number"),
        (b"1\n0\n", "longer than it may be"),
        (b"999999\n", "longer than it may be"),
        (b"1\n0\n9\n", "end beyond the file"),
        (b"2\n4\n4\n0\n4\n", "overlap"),
        (b"2\n0\n4\n3\n5\n", "overlap"),
        (b"1\n0\n4\n", "not written as"),
        (b"1\n00\n8\n", "not written as"),
        (b"1\n0\n8\nmore", "not written as"),
        (b"1\nx\n8\n0\n", "not written as"),
        (b"1\n0\n" + b"9" * 400 + b"\n", "end beyond the file"),
    ],
)
def test_a_wrong_map_is_refused(text, why):
    padded = text.ljust(512, b"\0") + bytes(1 << 20)
    with pytest.raises(ValueError, match=why):
        sparse.read(io.BytesIO(padded).read, 8, 4096)


@given(st.binary(max_size=600), st.integers(0, 100))
def test_any_map_is_read_or_refused(text, size):
    padded = (text + bytes(-len(text) % 512)) + bytes(1 << 16)
    try:
        read, found = sparse.read(io.BytesIO(padded).read, size, 8192)
    except ValueError:
        return
    assert read == sparse.written(found, size)
