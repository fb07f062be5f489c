"""The files of a guest are those that were opened, even if their names change."""

import hashlib
import os
from pathlib import Path

import pytest

from runner.boot import Images
from runner.boot import images as module
from vmspec.image import ImageError, opened
from vmspec.image.digest import digest
from vmspec.plan.plan import PlannedFile

OLD = b"what the guest is made from"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    (tmp_path / "kernel").write_bytes(OLD)
    os.utime(tmp_path / "kernel", (1_700_000_000, 1_700_000_000))
    return tmp_path / "kernel"


def hashes(files: Images) -> dict[str, str]:
    """As the recorder hashes them."""
    return {name: digest(image.descriptor, image.version) for name, image in files.hashed()}


def planned(path: Path) -> tuple[PlannedFile, ...]:
    with opened(path) as source:
        return (PlannedFile("kernel", path, source.version),)


@pytest.fixture
def files(kernel: Path):  # type: ignore[no-untyped-def]
    files = Images(planned(kernel))
    yield files
    files.close()


def test_a_hash_is_of_the_content(files: Images) -> None:
    assert hashes(files) == {"kernel": sha256(OLD)}


@pytest.mark.parametrize("how", ["replaced", "deleted"])
def test_a_file_that_is_replaced_after_it_was_opened_has_its_own_hash(files: Images, kernel: Path, how: str) -> None:
    if how == "replaced":
        kernel.with_name("new").write_bytes(b"of another kernel")
        kernel.with_name("new").rename(kernel)
    else:
        kernel.unlink()
    assert hashes(files) == {"kernel": sha256(OLD)}
    reopened = files.reopened("kernel")
    assert reopened is not None
    assert reopened.read_bytes() == OLD


@pytest.mark.parametrize("new", [b"longer than what the guest is made from", b"short", OLD.upper()])
def test_a_file_that_is_written_to_before_it_is_hashed_has_no_hash(files: Images, kernel: Path, new: bytes) -> None:
    kernel.write_bytes(new)
    assert hashes(files) == {"kernel": ""}


def test_a_file_that_was_changed_since_the_plan_is_not_loaded(kernel: Path, descriptors) -> None:  # type: ignore[no-untyped-def]
    files, before = planned(kernel), descriptors()
    kernel.write_bytes(b"new")
    with pytest.raises(ImageError, match=r"kernel has changed since the plan was made: run the spec again"):
        Images(files)
    kernel.unlink()
    with pytest.raises(ImageError, match=r"kernel cannot be opened any more: No such file"):
        Images(files)
    assert descriptors() == before


def test_what_is_large_or_no_file_is_not_kept(files: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_MAX", 4)
    read, write = os.pipe()
    for name, data in (("small", b"1234"), ("large", b"12345")):
        (tmp_path / name).write_bytes(data)
        with (tmp_path / name).open("rb") as file:
            files.keep(name, tmp_path / name, file.fileno())
    files.keep("pipe", Path("pipe"), read)
    os.close(read)
    os.close(write)
    assert hashes(files) == {
        "kernel": sha256(OLD),
        "small": sha256(b"1234"),
    }


def test_the_cached_kernel_is_no_file_of_the_users(kernel: Path) -> None:
    files = Images((PlannedFile("unpacked", kernel, None),))
    assert hashes(files) == {}
    files.close()
