import bz2
import io
import lzma
import os
import time
from collections.abc import Callable
from pathlib import Path

import lz4.block
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vmspec.image import images
from tests.vmspec.image.test_identify import MUTATIONS
from vmspec.image import BzImage, ImageError, Source, compression, identify, opened, unpack

# Longer than one piece of every format, with zeros that become a hole.
DATA = os.urandom(300_000) + bytes(1 << 20) + b"vmlinux" * 200_000


def lz4_legacy(data: bytes) -> bytes:
    blocks = [data[at : at + (8 << 20)] for at in range(0, len(data), 8 << 20)]
    packed = [lz4.block.compress(block, store_size=False) for block in blocks]
    return b"\x02\x21\x4c\x18" + b"".join(len(block).to_bytes(4, "little") + block for block in packed)


X86_FILTERS = [{"id": lzma.FILTER_X86}, {"id": lzma.FILTER_LZMA2, "preset": 1}]
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": images.gzipped,
    "xz": lambda data: images.sized(lzma.compress(data, check=lzma.CHECK_CRC32, filters=X86_FILTERS), data),
    "xz in two streams": lambda data: images.sized(lzma.compress(data[:9]) + lzma.compress(data[9:]), data),
    "lzma": lambda data: images.sized(lzma.compress(data, lzma.FORMAT_ALONE), data),
    "bzip2": lambda data: images.sized(bz2.compress(data), data),
    "lz4": lambda data: images.sized(lz4_legacy(data), data),
    "zstd": lambda data: images.sized(zstandard.compress(data), data),
    "none": lambda data: images.sized(data, data),
}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "vmrun" / "kernels"


def unpacked(path: Path, image: BzImage) -> Path:
    with opened(path) as source:
        return unpack.unpacked(source, image)


def kernel(path: Path, payload: bytes) -> tuple[Path, BzImage]:
    data = images.bzimage(payload)
    path.write_bytes(data)
    image = identify(Source(io.BytesIO(data), len(data)))
    assert isinstance(image, BzImage)
    return path, image


@pytest.mark.long
@pytest.mark.parametrize("name", PACKERS)
def test_formats(name: str, cache: Path, tmp_path: Path) -> None:
    data = b"\x7fELF" + DATA if name == "none" else DATA
    path = unpacked(*kernel(tmp_path / "bz", PACKERS[name](data)))
    assert path.parent == cache
    assert path.read_bytes() == data


def test_zeros_are_holes(cache: Path, tmp_path: Path) -> None:
    path = unpacked(*kernel(tmp_path / "bz", images.gzipped(bytes(8 << 20) + b"end")))
    assert path.stat().st_blocks * 512 < 1 << 20


def test_second_time_comes_from_the_cache(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bz = kernel(tmp_path / "bz", images.gzipped(DATA))
    first = unpacked(*bz)
    monkeypatch.setattr(compression, "unpack", None)
    assert unpacked(*bz) == first


def test_a_new_entry_removes_old_ones_but_not_itself(cache: Path, tmp_path: Path) -> None:
    first = unpacked(*kernel(tmp_path / "a", images.gzipped(DATA)))
    os.utime(first, (0, first.stat().st_mtime))
    second = unpacked(*kernel(tmp_path / "b", images.gzipped(DATA + b"b")))
    assert (first.exists(), second.exists()) == (False, True)


def test_settled_file_is_not_hashed_again(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bz = kernel(tmp_path / "bz", images.gzipped(DATA))
    monkeypatch.setattr("vmspec.host.cache.SETTLED_NS", 0)
    first = unpacked(*bz)
    monkeypatch.setattr(unpack, "_hash", None)
    assert unpacked(*bz) == first


def test_changed_file_is_another_entry(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmspec.host.cache.SETTLED_NS", 0)
    first = unpacked(*kernel(tmp_path / "bz", images.gzipped(DATA)))
    time.sleep(0.02)  # a tick of the file system's clock
    second = unpacked(*kernel(tmp_path / "bz", images.gzipped(b"E" + DATA[1:])))
    assert (first.read_bytes()[:1], second.read_bytes()[:1]) == (DATA[:1], b"E")


@pytest.mark.parametrize("damage", ["write", "truncate", "delete", "link"])
def test_damaged_entry_is_made_again(damage: str, cache: Path, tmp_path: Path) -> None:
    bz = kernel(tmp_path / "bz", images.gzipped(DATA))
    entry = unpacked(*bz)
    match damage:
        case "write":
            with entry.open("r+b") as file:
                file.write(b"damaged")
        case "truncate":
            os.truncate(entry, 100)
        case "delete":
            entry.unlink()
        case "link":
            entry.rename(tmp_path / "elsewhere")
            entry.symlink_to(tmp_path / "elsewhere")
    assert unpacked(*bz).read_bytes() == DATA
    assert not entry.is_symlink()


def test_unusable_cache_falls_back_to_the_temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    path = unpacked(*kernel(tmp_path / "bz", images.gzipped(DATA)))
    assert path.is_relative_to(tmp_path / "tmp")


def test_a_relative_cache_home_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", "rel")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    path = unpacked(*kernel(tmp_path / "bz", images.gzipped(DATA)))
    assert path.is_relative_to(tmp_path / "home" / ".cache")
    assert list((tmp_path / "here").iterdir()) == []


def test_where_there_is_no_home_the_temporary_directory_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # HOME is not set, and there is no passwd entry
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    path = unpacked(*kernel(tmp_path / "bz", images.gzipped(DATA)))
    assert path.is_relative_to(tmp_path)


def test_the_umask_does_not_keep_it_from_the_cache(cache: Path, tmp_path: Path) -> None:
    umask = os.umask(0o002)
    try:
        path = unpacked(*kernel(tmp_path / "bz", images.gzipped(DATA)))
    finally:
        os.umask(umask)
    assert path.is_relative_to(cache)


def test_cache_that_others_can_write_is_not_used(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.mkdir(parents=True)
    cache.chmod(0o777)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    path = unpacked(*kernel(tmp_path / "bz", images.gzipped(DATA)))
    assert path.is_relative_to(tmp_path / "tmp")


def test_no_place_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "file"))
    with pytest.raises(unpack.CannotUnpackError, match="no place"):
        unpacked(*kernel(tmp_path / "bz", images.gzipped(DATA)))


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (images.gzipped(DATA)[:-4] + b"\xff\xff\xff\xff", "unpacks to 4294967295 bytes"),
        (images.gzipped(DATA)[:-4] + bytes(4), "unpacks to 0 bytes"),
        (images.sized(bz2.compress(DATA), DATA[1:]), "unpacks to"),
        (images.sized(bz2.compress(DATA), DATA + b"1"), "unpacks to"),
        (images.sized(bz2.compress(DATA)[:-100], DATA), "ends too early"),
        (images.sized(lzma.compress(DATA)[:300] + bytes(100), DATA), "cannot be unpacked"),
    ],
)
def test_damaged_payload(payload: bytes, message: str, cache: Path, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=message):
        unpacked(*kernel(tmp_path / "bz", payload))
    assert [path for path in cache.glob("*") if path.is_file()] == []


def test_bomb_is_stopped_after_one_piece(cache: Path, tmp_path: Path) -> None:
    bomb = zstandard.compress(bytes(64 << 20)) + (1000).to_bytes(4, "little")
    with pytest.raises(ImageError, match=f"unpacks to {compression.PIECE} bytes, not to 1000"):
        unpacked(*kernel(tmp_path / "bz", bomb))


def test_unknown_compressor(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(unpack.CannotUnpackError, match="compression format is unknown"):
        unpacked(*kernel(tmp_path / "bz", b"LZO?" + bytes(1000) + b"\x10\x00\x00\x00"))


def test_missing_package(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "zstandard", None)
    with pytest.raises(unpack.CannotUnpackError, match="zstandard is not installed"):
        unpacked(*kernel(tmp_path / "bz", PACKERS["zstd"](DATA)))


SMALL = {name: pack(b"\x7fELF" + bytes(3000) + b"kernel" * 100) for name, pack in PACKERS.items()}


@given(st.sampled_from(sorted(SMALL)), st.integers(0, 600), st.binary(min_size=1, max_size=6), st.integers(1, 3000))
@settings(max_examples=MUTATIONS, deadline=None)
def test_mutated_payloads_raise_only_image_errors(name: str, at: int, patch: bytes, length: int) -> None:
    data = bytearray(SMALL[name])
    data[at : at + len(patch)] = patch
    data = data[:length]
    total = 0
    try:
        for block in compression.unpack(Source(io.BytesIO(data), len(data)), 0, len(data)) or ():
            total += len(block)
            if total > 1 << 20:
                break
    except ImageError:
        pass
