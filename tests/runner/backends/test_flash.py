"""The file behind a flash memory."""

import os
from pathlib import Path

import pytest

from runner.backends import flash
from runner.backends.errors import BackendError


@pytest.fixture
def fd(tmp_path: Path):  # type: ignore[no-untyped-def]
    (tmp_path / "vars").write_bytes(b"\xff" * 8192)
    descriptor = os.open(tmp_path / "vars", os.O_RDWR)
    yield descriptor
    os.close(descriptor)


def test_what_is_written_is_in_the_file(fd: int, tmp_path: Path) -> None:
    image = flash.opened(fd, 8192, 8192, None)
    image.write(4095, b"ab")
    assert image.read(4094, 4) == b"\xffab\xff"
    assert (tmp_path / "vars").read_bytes()[4095:4097] == b"ab"


def test_a_copy_leaves_the_file_as_it_is(fd: int, tmp_path: Path) -> None:
    copy = os.memfd_create("copy")
    image = flash.opened(fd, 8192, 8192, copy)
    image.write(0, b"x")
    assert (image.read(0, 2), (tmp_path / "vars").read_bytes()) == (b"x\xff", b"\xff" * 8192)
    os.close(copy)


def test_a_file_that_has_become_shorter_reads_as_zeros(fd: int) -> None:
    image = flash.opened(fd, 8192, 8192, None)
    os.ftruncate(fd, 1)
    assert image.read(0, 3) == b"\xff\0\0"


def test_a_file_of_another_size_than_planned(fd: int) -> None:
    with pytest.raises(BackendError) as raised:
        flash.opened(fd, 8192, 4096, None)
    assert (raised.value.key, raised.value.why) == ("path", "has 8192 bytes, and had 4096 when the plan was made")


def test_a_file_is_made_from_its_template_once(tmp_path: Path) -> None:
    template, path = tmp_path / "template", tmp_path / "vars"
    template.write_bytes(b"first")
    flash.made(path, template)
    template.write_bytes(b"second")
    flash.made(path, template)
    assert path.read_bytes() == b"first"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["template", "vars"]


def test_a_file_that_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"cannot be made as a copy of .*: No such file or directory"):
        flash.made(tmp_path / "vars", tmp_path / "template")
