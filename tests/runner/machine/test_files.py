"""The open files of devices: no use overwrites the file of another."""

import errno
import os

import pytest

from runner.devices import DeviceError
from runner.machine.files import Files
from vmspec import SpecError
from vmspec.document import Document

SPEC = """\
[vm]
name = "x"
memory = "1MiB"
[boot]
mode = "real"
kernel = "k"
[[device]]
kind = "serial"
output = "out"
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "x.toml").write_text(SPEC)
    (tmp_path / "k").write_bytes(b"kernel")
    return tmp_path


@pytest.fixture
def files(folder):
    with_spec = Files(Document.open(folder / "x.toml").spec().names())
    yield with_spec
    with_spec.close()


def test_an_output_begins_anew(files, folder):
    (folder / "out").write_text("of an earlier run")
    os.write(files.open("device[0].output", folder / "out", writes=True), b"new")
    assert (folder / "out").read_bytes() == b"new"


def test_a_link_made_after_the_check_is_not_followed_to_a_file_that_is_used(files, folder):
    (folder / "out").symlink_to("k")
    with pytest.raises(SpecError, match=r"device\[0\]\.output: out is boot\.kernel too, and would be overwritten"):
        files.open("device[0].output", folder / "out", writes=True)
    assert (folder / "k").read_bytes() == b"kernel"


def test_two_outputs_that_became_one(files, folder):
    files.open("device[0].output", folder / "out", writes=True)
    (folder / "other").hardlink_to(folder / "out")
    with pytest.raises(SpecError, match=r"device\[1\]\.output: other is device\[0\]\.output too"):
        files.open("device[1].output", folder / "other", writes=True)


@pytest.mark.parametrize("name", ["x.toml", "k"])
def test_standard_output_that_leads_to_what_the_run_reads(files, folder, name):
    with (
        (folder / name).open("ab") as out,
        pytest.raises(SpecError, match=r"standard output is (this spec|boot\.kernel) too, and would be overwritten"),
    ):
        files.standard("standard output", out.fileno(), writes=True)


def test_standard_input_that_is_an_output(files, folder):
    (folder / "out").write_text("input")
    with (
        (folder / "out").open("rb") as given,
        pytest.raises(SpecError, match=r"standard input is device\[0\]\.output too"),
    ):
        files.standard("standard input", given.fileno(), writes=False)
    assert (folder / "out").read_text() == "input"


def test_standard_output_by_its_path(files, folder):
    with (folder / "log").open("ab") as out:
        files.standard("standard output", out.fileno(), writes=True)
        with pytest.raises(SpecError, match="is standard output too"):
            files.open("device[0].output", folder / f"/proc/self/fd/{out.fileno()}", writes=True)


def test_nothing_stays_open(files, folder, descriptors):
    before = descriptors()
    files.open("device[0].output", folder / "out", writes=True)
    files.close()
    assert descriptors() == before


def test_a_directory_gives_no_input(files, folder):
    with pytest.raises(DeviceError, match=r"device\[0\]\.input: cannot open .*: Is a directory"):
        files.open("device[0].input", folder, writes=False)


@pytest.mark.parametrize("has", [True, False], ids=["with O_TMPFILE", "without"])
def test_a_temporary_file_has_no_name(files, tmp_path, monkeypatch, has):
    """A file system may lack O_TMPFILE: overlayfs does before Linux 6.3."""
    place, real = tmp_path / "place", os.open
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))

    def lacking(path, flags, *rest, **more):
        if flags & os.O_TMPFILE == os.O_TMPFILE and not has:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return real(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", lacking)
    fd = files.temporary("device[0].mode", 1 << 30)
    assert (os.fstat(fd).st_nlink, os.fstat(fd).st_size, [*place.iterdir()]) == (0, 1 << 30, [])
