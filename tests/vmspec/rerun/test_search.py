"""Files found by their hashes."""

import hashlib
from pathlib import Path

import pytest

from vmspec.rerun.search import Search, Wanted

DATA = b"the image"
HASH = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "deep/er").mkdir(parents=True)
    (tmp_path / "deep/er/other-name").write_bytes(DATA)
    (tmp_path / "deep/decoy").write_bytes(DATA[::-1])
    return tmp_path


def wanted(path="gone", size: int | None = len(DATA), sha256=HASH):
    return Wanted("kernel", Path(path), size, sha256)


def test_a_file_is_where_it_was(folder):
    path = folder / "deep/er/other-name"
    assert Search(()).find(wanted(path)) == path


@pytest.mark.parametrize("was", ["gone", "deep/decoy", "deep"])
def test_else_it_is_looked_for_by_its_content(folder, was):
    assert Search([folder]).find(wanted(folder / was)) == folder / "deep/er/other-name"
    assert Search([folder / "nothing"]).find(wanted(folder / was)) is None
    assert Search([]).find(wanted(folder / was)) is None


def test_a_file_of_unknown_size(folder):
    assert Search([folder]).find(wanted(size=None)) == folder / "deep/er/other-name"


def test_one_that_was_not_hashed_has_its_name_and_its_size(folder):
    assert Search([folder]).find(wanted("x/decoy", sha256="")) == folder / "deep/decoy"
    assert Search([folder]).find(wanted("x/decoy", size=1, sha256="")) is None
    assert Search([folder]).find(wanted("x/none", sha256="")) is None


def test_links_to_files_are_followed_and_links_to_folders_are_not(folder):
    (folder / "round").symlink_to(folder)
    (folder / "deep/dangling").symlink_to("nowhere")
    (folder / "a").symlink_to("deep/er/other-name")
    assert Search([folder]).find(wanted()) == folder / "a"
