"""Writing a bundle."""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

from vmspec import __version__
from vmspec.bundle import sparse
from vmspec.bundle.archive import RATIO, SIZES_MAX, SPARE
from vmspec.bundle.gathering import Gathered
from vmspec.bundle.headers import END, header, padding
from vmspec.bundle.manifest import FORMAT, LARGEST, NAME, BundledFile, Manifest, dumps
from vmspec.bundle.sparse import Extent
from vmspec.host.atomic import replaced
from vmspec.host.pathtext import from_text
from vmspec.image.digest import CHUNK
from vmspec.image.source import Version, version
from vmspec.lock import images
from vmspec.lock.hashing import sha256
from vmspec.schema.problems import Problem, SpecError

LEVEL = 6  # of zstd: a kernel is compressed already, and a disk takes a minute for 10 GiB
THREADS = 2  # any number of them from 1 makes the same bytes


class Known(NamedTuple):
    """What is known of a file from its lock."""

    version: Version
    sha256: str


class _Part(NamedTuple):
    """A file to pack: bytes, or a path as it was when it was hashed, with the parts that have data."""

    source: bytes | Path
    file: BundledFile
    data: tuple[Extent, ...]
    version: Version | None = None


class _Out(Protocol):
    def write(self, data: bytes, /) -> int: ...


def pack(
    output: Path,
    gathered: Gathered,
    lock: str,
    known: Mapping[Path, Known],
    advance: Callable[[int], None] = lambda size: None,
) -> Manifest:
    """Write a bundle with the text of its lock; it appears whole or not at all. ``known`` are files that were hashed.
    ``advance`` is called with each number of bytes that are looked at, and again as they are packed. Raises SpecError
    if a file has changed meanwhile or no reader would take the bundle, OSError."""
    import zstandard  # late: only bundles need it

    parts = {gathered.spec: _text(gathered.text), gathered.lock: _text(lock)}
    for name, path in sorted(gathered.files.items()):
        parts[name] = _part(path, known.get(path), advance)
    manifest = Manifest(
        FORMAT, __version__, gathered.spec, gathered.reference, {n: part.file for n, part in parts.items()}
    )
    text = dumps(manifest).encode()
    _check(manifest, text, output)
    with replaced(output) as file:
        compressor = zstandard.ZstdCompressor(level=LEVEL, threads=THREADS, write_checksum=True)
        with compressor.stream_writer(file, closefd=False) as out:
            out.write(header(NAME.encode(), len(text)) + text + bytes(padding(len(text))))
            for name in manifest.members:
                _write(out, name, parts[name], advance)
            out.write(END)
        stored, size = sum(part.file.length for part in parts.values()), file.tell()
        if stored > SPARE + RATIO * size:
            message = f"its files compress from {stored:,} bytes to {size:,}, and a bundle may do so {RATIO} times"
            raise SpecError((Problem("", message, file=output),))
    return manifest


def _check(manifest: Manifest, text: bytes, output: Path) -> None:
    for path, message in manifest.faults():
        raise SpecError((Problem(str(path[-1]), message, file=output),))
    if len(text) > LARGEST:
        raise SpecError(
            (Problem("", f"the list of its files has {len(text):,} bytes; {LARGEST:,} is the most", file=output),)
        )
    if (total := sum(file.size for file in manifest.files.values())) > SIZES_MAX:
        message = f"its files have {total:,} bytes, holes included; {SIZES_MAX:,} is the most"
        raise SpecError((Problem("", message, file=output),))


def _text(text: str) -> _Part:
    data = text.encode()
    return _Part(data, BundledFile(len(data), hashlib.sha256(data).hexdigest()), sparse.whole(len(data)))


def _part(path: Path, known: Known | None, advance: Callable[[int], None]) -> _Part:
    """A file as it is now. Raises SpecError."""
    with _reading(path) as (descriptor, size):
        now = version(descriptor)
        if known is None:
            known = Known(now, sha256(descriptor, size, advance))
        data = sparse.data(descriptor, size, advance)
        stored = None
        if data != sparse.whole(size):
            stored = len(sparse.written(data, size)) + sum(extent.size for extent in data)
        _unchanged(descriptor, known.version)
    return _Part(path, BundledFile(size, known.sha256, stored), data, known.version)


def _write(out: _Out, name: str, part: _Part, advance: Callable[[int], None]) -> None:
    """Write a member."""
    file = part.file
    out.write(header(os.fsencode(from_text(name)), file.length, None if file.stored is None else file.size))
    if file.stored is not None:
        out.write(sparse.written(part.data, file.size))
    for piece in _pieces(part):
        out.write(piece)
        advance(len(piece))
    out.write(bytes(padding(file.length)))


def _pieces(part: _Part) -> Iterator[bytes]:
    """The data of a file. Raises SpecError if it cannot be read, or has changed."""
    if isinstance(part.source, bytes):
        yield part.source
        return
    with _reading(part.source) as (descriptor, _):
        for start, size in part.data:
            for at in range(start, start + size, CHUNK):
                yield os.pread(descriptor, min(CHUNK, start + size - at), at)
        assert part.version is not None
        _unchanged(descriptor, part.version)


@contextmanager
def _reading(path: Path) -> Iterator[tuple[int, int]]:
    """The descriptor and the size of a file; its errors are SpecErrors."""
    try:
        with images.opened(path) as opened:
            yield opened
    except OSError as error:
        why = error.strerror if error.errno == 0 else f"cannot be read: {error.strerror}"
        raise SpecError((Problem("", f"{why}", file=path),)) from error


def _unchanged(descriptor: int, was: Version) -> None:
    if version(descriptor)[:5] != was[:5]:
        raise OSError(0, "has changed while it was packed: run the command again")
