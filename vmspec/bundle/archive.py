"""Reading a bundle. The manifest is checked first. The archive must then be exactly what it declares: every header is
compared with the one that must come, and every content with its hash."""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from vmspec.bundle import frame, sparse
from vmspec.bundle.headers import BLOCK, END, declared, header, padding
from vmspec.bundle.manifest import LARGEST, NAME, BundledFile, ManifestText
from vmspec.bundle.sparse import Extent
from vmspec.host.pathtext import from_text
from vmspec.image.digest import CHUNK
from vmspec.image.source import ImageError, Source, opened
from vmspec.lock.hashing import ZEROS
from vmspec.schema.keypath import join
from vmspec.schema.problems import Problem, SpecError

# A bundle may unpack to so many bytes, and to so many more for each of its own. Data that compresses better than that
# is zeros, which are holes, or made to fill a disk.
SPARE, RATIO = 1 << 30, 256
SIZES_MAX = 4 << 40  # bytes of all files with their holes, which take time to hash


class Bundle:
    """An open bundle, with its manifest read. Raises SpecError."""

    def __init__(self, path: Path, source: Source) -> None:
        frame.check(source.file, source.size, path)
        import zstandard  # late: only bundles need it

        self.path = path
        self._damage = zstandard.ZstdError
        decompressor = zstandard.ZstdDecompressor(max_window_size=frame.WINDOW_MAX)
        self._stream = decompressor.stream_reader(source.file, read_size=CHUNK, closefd=False)
        start = self._read(BLOCK)
        size = declared(start)
        if size is None or header(NAME.encode(), size) != start:
            raise self.wrong("is not a bundle: its first file is not the list of its files")
        if size > LARGEST:
            raise self.wrong(f"has a list of files of {size:,} bytes; {LARGEST:,} is the most")
        data = self._read(size)
        self.digest = hashlib.sha256(data).hexdigest()
        self._end(size)
        try:
            self.text = ManifestText(data.decode(), path / NAME)
        except UnicodeDecodeError:
            raise self.wrong("has a list of files that is not UTF-8 text") from None
        self.manifest = self.text.manifest
        self._bounded(source.size)

    def wrong(self, message: str) -> SpecError:
        """The error of the whole bundle."""
        return SpecError((Problem("", message, file=self.path),))

    @property
    def size(self) -> int:
        """The bytes of all files, with their holes."""
        return sum(file.size for file in self.manifest.files.values())

    def unpack(self, folder: Path, advance: Callable[[int], None] = lambda size: None) -> None:
        """Write the files into a folder, which is empty and the caller's own. ``advance`` is called with each number of
        bytes that are done. Raises SpecError, or OSError if a file cannot be written; the caller removes the folder.
        """
        needed, free = self._stored(), _free(folder)
        if needed > free:
            raise self.wrong(f"unpacks to {needed:,} bytes, and {folder.parent} has {free:,} free")
        same: dict[str, list[str]] = {}
        for name, file in self.manifest.files.items():
            same.setdefault(file.sha256, []).append(name)
        for name, file in self.manifest.members.items():
            with _created(folder, name) as first:
                data = self._member(name, file, first, advance)
                for other in same[file.sha256][1:]:
                    with _created(folder, other) as second:
                        _copy(first, second, data, file.size)
                    advance(file.size)
        if self._read(len(END)) != END or self._some(1):
            raise self.wrong("has more files than its list of them")

    def _member(
        self, name: str, file: BundledFile, descriptor: int, advance: Callable[[int], None]
    ) -> tuple[Extent, ...]:
        """Write one file; return where its data is."""
        must = header(os.fsencode(from_text(name)), file.length, None if file.stored is None else file.size)
        if self._read(len(must)) != must:
            raise self._wrong(name, "is not in the archive where its list of files has it")
        data = sparse.whole(file.size)
        if file.stored is not None:
            try:
                text, data = sparse.read(self._read, file.size, file.stored)
            except ValueError as error:
                raise self._wrong(name, f"has a map of its holes that {error}") from None
            if len(text) + sum(extent.size for extent in data) != file.stored:
                raise self._wrong(name, "has a map of its holes for other data")
        hashed, at = hashlib.sha256(), 0
        for extent in (*data, Extent(file.size, 0)):
            _hash_zeros(hashed, extent.start - at, advance)
            at = extent.start
            for piece in self._pieces(extent.size):
                hashed.update(piece)
                _write(descriptor, piece, at)
                at += len(piece)
                advance(len(piece))
        os.ftruncate(descriptor, file.size)
        if hashed.hexdigest() != file.sha256:
            raise self._wrong(name, f"has the SHA-256 {hashed.hexdigest()}", "sha256")
        self._end(file.length)
        return data

    def _wrong(self, name: str, message: str, *key: str) -> SpecError:
        return SpecError((self.text.locate(Problem(join(("files", name, *key)), message)),))

    def _bounded(self, size: int) -> None:
        """Check the manifest's sums."""
        most = SPARE + RATIO * size
        if self._stored() > most:
            raise self.wrong(f"would unpack to {self._stored():,} bytes; {most:,} is the most for one of its size")
        if self.size > SIZES_MAX:
            raise self.wrong(f"has files of {self.size:,} bytes, holes included; {SIZES_MAX:,} is the most")

    def _stored(self) -> int:
        return sum(file.length for file in self.manifest.files.values())

    def _end(self, size: int) -> None:
        """Read the padding after a member."""
        if self._read(padding(size)).strip(b"\0"):
            raise self.wrong("is damaged: there is data between its files")

    def _read(self, size: int) -> bytes:
        """Exactly so many bytes of the archive."""
        return b"".join(self._pieces(size))

    def _pieces(self, size: int) -> Iterator[bytes]:
        while size:
            piece = self._some(min(size, CHUNK))
            if not piece:
                raise self.wrong("ends before its last file")
            yield piece
            size -= len(piece)

    def _some(self, size: int) -> bytes:
        try:
            return self._stream.read(size)
        except self._damage as error:
            raise self.wrong(f"is damaged: {error}") from None


@contextmanager
def bundle(path: Path) -> Iterator[Bundle]:
    """The bundle of a file. Raises SpecError, OSError if it cannot be read."""
    with ExitStack() as stack:
        try:
            source = stack.enter_context(opened(path))
        except ImageError as error:
            raise SpecError((Problem("", str(error), file=path),)) from None
        yield Bundle(path, source)


@contextmanager
def _created(folder: Path, name: str) -> Iterator[int]:
    path = folder / from_text(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _free(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def _write(descriptor: int, piece: bytes, at: int) -> None:
    view = memoryview(piece)
    while view:
        done = os.pwrite(descriptor, view, at)
        view, at = view[done:], at + done


def _copy(source: int, target: int, data: tuple[Extent, ...], size: int) -> None:
    for start, length in data:
        for at in range(start, start + length, CHUNK):
            _write(target, os.pread(source, min(CHUNK, start + length - at), at), at)
    os.ftruncate(target, size)


def _hash_zeros(hashed: "hashlib._Hash", size: int, advance: Callable[[int], None]) -> None:
    while size:
        piece = ZEROS[: min(size, CHUNK)]
        hashed.update(piece)
        advance(len(piece))
        size -= len(piece)
