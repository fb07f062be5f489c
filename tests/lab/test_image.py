"""The files that the Intel host gets, and the disks that carry them."""

import os
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest

from tests.lab.hosts.image import Tree, distributions, escaped, libraries, write
from tests.lab.hosts.intel import CYLINDER, SHARE, STREAMS, making_place, partitions
from tests.lab.hosts.job import LabError, debian


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "real" / "inner").mkdir(parents=True)
    (tmp_path / "real" / "inner" / "file").write_text("x")
    (tmp_path / "real" / "left").mkdir()
    (tmp_path / "real" / "left" / "file").write_text("x")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real" / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "real" / "pipe")
    return tmp_path


def taken(tree, folder):
    return {path.removeprefix(f"{folder}/") for path in tree.paths if path.startswith(f"{folder}/")}


def test_a_folder_is_taken_but_what_is_left_out(folder):
    tree = Tree()
    tree.take(folder / "real", {"left"})
    assert taken(tree, folder) == {"real/inner/file", "real/dangling"}


def test_links_on_the_way_are_taken_too(folder):
    tree = Tree()
    tree.take(folder / "link" / "inner" / "file")
    assert taken(tree, folder) == {"link", "real/inner/file"}


def test_code_that_python_has_not_finished_is_left_out(folder):
    for name in ("a.cpython-311.pyc", "a.cpython-311.pyc.140234", "a.pyc.txt"):
        (folder / "real" / "left" / name).touch()
    tree = Tree()
    tree.take(folder / "real" / "left")
    assert taken(tree, folder) == {f"real/left/{name}" for name in ("file", "a.cpython-311.pyc", "a.pyc.txt")}


def test_links_in_a_circle_end(folder):
    (folder / "a").symlink_to("b/a")
    (folder / "b").symlink_to(".")
    tree = Tree()
    tree.take(folder / "a")
    assert taken(tree, folder) == {"a", "b"}


@pytest.fixture
def xorriso():
    """The program, installed if it is missing."""
    return debian.program("xorriso", "xorriso")


def test_names_with_what_the_list_of_files_uses_itself(folder, xorriso):
    name = "a=b \\c"
    (folder / name).write_text("whole")
    tree = Tree()
    tree.take(folder / name)
    with tempfile.NamedTemporaryFile() as image:
        write(image.fileno(), [("isolinux.bin", b"\0" * 4096)], tree)
        command = [xorriso, "-osirrox", "on", "-indev", image.name, "-extract", folder / name, folder / "back"]
        subprocess.run(command, capture_output=True, check=True)
    assert ((folder / "back").read_text(), escaped(name)) == ("whole", "a\\=b \\\\c")


def test_a_file_that_has_gone_is_named(folder, xorriso):
    """However much of the list follows: more than a pipe holds."""
    tree = Tree()
    tree.paths = {
        str(folder / "gone"),
        *(str(folder / "real/inner" / ("x" * 200 + str(number))) for number in range(2000)),
    }
    with tempfile.NamedTemporaryFile() as image, pytest.raises(LabError, match=r"xorriso failed:(.|\n)*/gone"):
        write(image.fileno(), [("isolinux.bin", b"\0" * 4096)], tree)


def test_a_distribution_comes_with_what_it_requires():
    import attrs

    site = Path(attrs.__file__).parents[1]
    names = {path.relative_to(site).parts[0] for path in distributions(str(site)) if path.is_relative_to(site)}
    assert {"attrs", "pyarrow", "cffi"} <= names
    assert not {"pandas", "polars"} & names


def test_libraries_of_a_program_and_its_loader():
    found = libraries(["/bin/ls"])
    assert {name.rpartition("/")[2] for name in found} >= {"libc.so.6", "ld-linux-x86-64.so.2"}


def test_the_disk_of_results_has_three_partitions_one_after_the_other():
    record = partitions()
    entries = [record[at : at + 16] for at in (446, 462, 478)]
    places = [(int.from_bytes(e[8:12], "little") * 512, int.from_bytes(e[12:16], "little") * 512) for e in entries]
    assert (len(record), record[510:], record[494:510]) == (512, b"\x55\xaa", bytes(16))
    assert places == [(CYLINDER, STREAMS), (CYLINDER + STREAMS, STREAMS), (CYLINDER + 2 * STREAMS, SHARE)]


def test_links_out_of_a_shared_folder_and_pipes_come_back(folder):
    (folder / "real" / "out").symlink_to("/etc/hostname")
    with tarfile.open(folder / "archive", "w") as archive:
        archive.add(folder / "real", ".")
    with tarfile.open(folder / "archive") as archive:
        archive.extraction_filter = making_place
        archive.extractall(folder / "real")
    assert [str((folder / "real" / name).readlink()) for name in ("out", "dangling")] == ["/etc/hostname", "nowhere"]
    assert (folder / "real" / "inner" / "file").read_text() == "x"
