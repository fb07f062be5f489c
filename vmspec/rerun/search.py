"""Files found by their hashes."""

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from vmspec.lock.hashing import sha256
from vmspec.lock.images import opened

SMALL = 1 << 20  # bytes of a file whose size is not known


class Wanted(NamedTuple):
    """A file by its content: its name in a lock, where it was, its size and hash. A ``size`` of None is unknown; a
    ``sha256`` of "" too, then a file of the size is taken if its name is the same."""

    name: str
    path: Path
    size: int | None
    sha256: str

    @property
    def content(self) -> str:
        """The content, in words."""
        size = "" if self.size is None else "1 byte, " if self.size == 1 else f"{self.size:,} bytes, "
        return f"{size}sha256 {self.sha256}" if self.sha256 else f"{size}not hashed"


class Search:
    """Looks for files where they were, then in folders and all folders below. ``advance`` is called with each number of
    bytes that are hashed."""

    def __init__(self, folders: Sequence[Path], advance: Callable[[int], None] = lambda size: None) -> None:
        self._folders, self._advance = folders, advance
        self._hashes: dict[Path, str] = {}

    def find(self, wanted: Wanted) -> Path | None:
        """The path of a file, None if it is nowhere."""
        return next((path for path in self._candidates(wanted) if self._is(path, wanted)), None)

    def _candidates(self, wanted: Wanted) -> Iterator[Path]:
        yield wanted.path
        sizes = self._sizes
        found: Iterable[int] = (size for size in sizes if size <= SMALL) if wanted.size is None else (wanted.size,)
        for size in found:
            for path in sizes.get(size, ()):
                if wanted.sha256 or path.name == wanted.path.name:
                    yield path

    def _is(self, path: Path, wanted: Wanted) -> bool:
        try:
            with opened(path) as (descriptor, size):
                if wanted.size not in (None, size):
                    return False
                if wanted.sha256 and path not in self._hashes:
                    self._hashes[path] = sha256(descriptor, size, self._advance)
        except (OSError, ValueError):
            return False
        return not wanted.sha256 or self._hashes[path] == wanted.sha256

    @cached_property
    def _sizes(self) -> dict[int, list[Path]]:
        """The regular files in the folders, by size, in the order of their names."""
        found: dict[int, list[Path]] = {}
        for folder in self._folders:
            for place, folders, names in os.walk(folder):
                folders.sort()
                for name in sorted(names):
                    path = Path(place, name)
                    try:
                        status = path.stat()
                    except OSError:
                        continue
                    if stat.S_ISREG(status.st_mode):
                        found.setdefault(status.st_size, []).append(path)
        return found
