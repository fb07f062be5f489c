"""The folder of what many runs leave: one command uses it at a time, and it has nothing that is not theirs."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class FolderError(Exception):
    """The folder cannot be used."""


@contextmanager
def held(folder: Path, user: str) -> Iterator[Path]:
    """Make the folder if there is none, and hold it during the block; yield its absolute path. ``user`` is what holds
    it, for people. Raises FolderError if another process holds it, OSError."""
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderError(f"{folder}: another {user} uses it; choose another folder with -o") from None
        yield folder
    finally:
        os.close(descriptor)
