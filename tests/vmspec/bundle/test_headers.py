"""The headers of a bundle's archive, as other readers of tar see them."""

import io
import subprocess
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmspec.bundle.headers import BLOCK, END, declared, header, padding

names = st.lists(
    st.binary(min_size=1, max_size=60).filter(lambda part: not {0, 0x2F} & {*part}), min_size=1, max_size=6
)
names = names.map(b"/".join)


def read(data):
    """The only member of an archive."""
    archive = tarfile.open(fileobj=io.BytesIO(data), encoding="utf-8", errors="surrogateescape")  # noqa: SIM115
    return archive.next()


@given(names, st.integers(0, 1 << 62))
def test_a_header_has_the_name_and_the_size(name, size):
    made = header(name, size)
    found = read(made + END)
    assert (found.name.encode("utf-8", "surrogateescape"), found.size) == (name.rstrip(b"/"), size)
    assert (found.isreg(), found.mode, found.uid, found.mtime, len(made) % BLOCK) == (True, 0o644, 0, 0, 0)


@given(names, st.integers(0, 1 << 40))
def test_a_header_of_a_file_with_holes_has_both_sizes(name, size):
    text = b"1\n%d\n0\n" % size
    body = text + bytes(padding(len(text)))
    found = read(header(name, len(body), size) + body + END)
    assert (found.name.encode("utf-8", "surrogateescape"), found.size, found.issparse()) == (name, size, True)


def test_the_size_in_a_header_is_read_back():
    assert [declared(header(b"a", size)[-BLOCK:]) for size in (0, 1, 8**11 - 1)] == [0, 1, 8**11 - 1]
    assert declared(bytes(BLOCK)) is None


@pytest.mark.parametrize("name", ["a", "deep/" * 30 + "é", "x" * 100, "y" * 101], ids=len)
def test_gnu_tar_reads_it(tmp_path, name):
    (tmp_path / "a.tar").write_bytes(header(name.encode(), 3) + b"abc".ljust(BLOCK, b"\0") + END)
    command = ["tar", "--quoting-style=literal", "-tf", tmp_path / "a.tar"]
    done = subprocess.run(command, capture_output=True, check=True)
    assert (done.stdout.decode(), done.stderr) == (f"{name}\n", b"")
