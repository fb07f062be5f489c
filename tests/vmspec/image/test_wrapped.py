"""Kernels within other files: compressed ones, and unified kernel images."""

import gzip
import random
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.mutated.bytesmutation import mutated
from tests.vmspec.image import images
from tests.vmspec.image.multiboots import multiboot1
from tests.vmspec.image.test_foreign import PACKERS
from vmspec.image import ImageError, Wrapped, identify, opened, symbols

KERNELS = {
    "bzImage": images.bzimage(images.gzipped(images.elf())),
    "ELF": images.elf(),
    "Multiboot": images.elf32() + multiboot1(),
}
LARGE = gzip.compress(images.elf((1 << 20, 1 << 20, random.Random(1).randbytes(1 << 20), 1 << 20)), mtime=0)
UKI = images.uki(linux=KERNELS["bzImage"], initrd=b"070701" + bytes(200), cmdline=b"console=ttyS0 quiet\n\0")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def found(path: Path, data: bytes) -> Wrapped:
    path.write_bytes(data)
    with opened(path) as source:
        inner = identify(source)
    assert isinstance(inner, Wrapped)
    return inner


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("packer", PACKERS)
def test_a_compressed_kernel_is_unpacked(tmp_path: Path, packer: str, kernel: str) -> None:
    inner = found(tmp_path / "kernel", PACKERS[packer](KERNELS[kernel]))
    assert (inner.form, inner.initrd, inner.cmdline) == (packer.strip(), None, "")
    assert inner.kernel.read_bytes() == KERNELS[kernel]


def test_two_streams_in_a_gzip_file_are_one_kernel(tmp_path: Path) -> None:
    kernel = KERNELS["bzImage"]
    inner = found(tmp_path / "kernel", gzip.compress(kernel[:700]) + gzip.compress(kernel[700:]))
    assert inner.kernel.read_bytes() == kernel


def test_the_sections_of_a_unified_kernel_image(tmp_path: Path) -> None:
    inner = found(tmp_path / "uki", UKI)
    assert inner.initrd is not None
    assert (inner.form, inner.cmdline) == ("a unified kernel image", "console=ttyS0 quiet")
    assert (inner.kernel.read_bytes(), inner.initrd.read_bytes()) == (KERNELS["bzImage"], b"070701" + bytes(200))


def test_a_unified_kernel_image_may_have_a_kernel_only(tmp_path: Path) -> None:
    assert found(tmp_path / "uki", images.uki(linux=KERNELS["ELF"]))[2:] == (None, "")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (UKI[:1500], r"^truncated: the section .linux ends at byte \d+, the file has 1500$"),
        (images.uki(linux=b""), "^truncated: the section .linux"),
        (images.uki(linux=b"x", cmdline=b"x" * 70_000), "^has a command line of 70000 bytes$"),
        (LARGE[:300_000] + bytes(9) + LARGE[300_009:], "^damaged: the compressed kernel cannot be unpacked"),
    ],
    ids=["cut", "empty", "command line", "damaged"],
)
def test_damaged_ones_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "kernel").write_bytes(data)
    with opened(tmp_path / "kernel") as source, pytest.raises(ImageError, match=message):
        identify(source)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rng=st.randoms(use_true_random=False), data=st.sampled_from([UKI, gzip.compress(KERNELS["ELF"], mtime=0)]))
def test_mutated_ones_raise_only_image_errors(tmp_path: Path, rng, data: bytes) -> None:
    (tmp_path / "kernel").write_bytes(mutated(rng, data) or b"x")
    with suppress(ImageError), opened(tmp_path / "kernel") as source:
        identify(source)


def test_symbols_are_those_of_the_kernel_within(tmp_path: Path) -> None:
    (tmp_path / "kernel").write_bytes(gzip.compress(KERNELS["ELF"]))
    with pytest.raises(ImageError, match=r"^has no symbols$"):  # and not: is not a symbol file
        symbols.read(tmp_path / "kernel")
