"""The files that a worker has for campaigns: those of the campaign's own host if it sees them, and a store in the
user's cache, ``images/<sha256>``. A file is there whole and with the right hash, or not at all."""

import hashlib
import os
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path

from runner.campaign.cluster.parcel import File
from vmspec.bundle.store import Content, intact, place, seal
from vmspec.host.atomic import replaced
from vmspec.image.digest import CHUNK
from vmspec.image.source import Version, version
from vmspec.lock.hashing import ZEROS, sha256
from vmspec.lock.images import opened

PART = "images"


def find(file: File) -> Path | None:
    """Where this host has a file, None if it has not. Raises OSError if there is no place for a store."""
    try:
        if version(file.path).size == file.content.size and _digest(file.path, version(file.path)) == file.content[1]:
            return file.path
    except OSError:
        pass  # another host's path
    store = place(PART)
    return store / file.content.sha256 if intact(store, {file.content.sha256: file.content}) else None


@lru_cache(1024)
def _digest(path: Path, was: Version) -> str:
    with opened(path) as (descriptor, size):
        return sha256(descriptor, size, lambda size: None)


class Arrival:
    """A file on its way, in pieces from its start on. What does not arrive whole leaves nothing."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self._stack = ExitStack()
        self._path = place(PART) / content.sha256
        self._file = self._stack.enter_context(replaced(self._path))
        self._hash, self._size = hashlib.sha256(), 0

    def add(self, piece: bytes | int) -> bool:
        """Add bytes, or as many zeros, which are a hole; whether the file is complete. Raises OSError."""
        try:
            if isinstance(piece, bytes):
                self._file.write(piece)
                self._hash.update(piece)
            else:
                for done in range(0, piece, CHUNK):
                    self._hash.update(ZEROS[: min(CHUNK, piece - done)])
                self._file.seek(piece, os.SEEK_CUR)
            self._size += len(piece) if isinstance(piece, bytes) else piece
            return self._complete()
        except BaseException as error:
            self._stack.__exit__(type(error), error, error.__traceback__)
            raise

    def _complete(self) -> bool:
        if self._size < self._content.size:
            return False
        if (self._size, self._hash.hexdigest()) != self._content:
            raise OSError(0, "arrived with another hash: it was written to, or damaged on its way")
        self._file.truncate(self._size)
        self._stack.close()
        seal(self._path, self._content)
        return True

    def close(self) -> None:
        """Give it up."""
        error = OSError(0, "given up")
        try:
            self._stack.__exit__(OSError, error, None)
        except OSError:
            pass
