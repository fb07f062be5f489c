"""Specs with every kind of file in a folder, for tests of bundles; and bundles as tar sees them."""

import io
import os
import tarfile
from pathlib import Path

import zstandard

from tests.vmspec.lock import test_taking as locked

FILES = locked.FILES


def fill(folder: Path) -> Path:
    """Write the spec of a guest with its files into a folder; return the spec's path."""
    locked.fill(folder)
    return folder / "guest.toml"


def sparse(path: Path, size: int, data: dict[int, bytes]) -> bytes:
    """Write a file with holes; return its content."""
    with path.open("wb") as file:
        for at, piece in data.items():
            file.seek(at)
            file.write(piece)
        file.truncate(size)
    return path.read_bytes()


def tree(folder: Path) -> dict[str, bytes]:
    """The files below a folder, by their names."""
    return {os.path.relpath(path, folder): path.read_bytes() for path in sorted(folder.rglob("*")) if not path.is_dir()}


def raw(bundle: Path) -> bytes:
    """The tar in a bundle."""
    with bundle.open("rb") as file:
        return zstandard.ZstdDecompressor().stream_reader(file).read()


def members(bundle: Path) -> list[tarfile.TarInfo]:
    """The members of a bundle as Python's tarfile reads them."""
    with tarfile.open(fileobj=io.BytesIO(raw(bundle))) as archive:
        return archive.getmembers()


def packed(path: Path, data: bytes) -> Path:
    """Write a tar as a bundle."""
    path.write_bytes(zstandard.ZstdCompressor(write_checksum=True).compress(data))
    return path
