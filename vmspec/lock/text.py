"""Locks as TOML files: read, with every problem located, and written."""

import os
from pathlib import Path
from typing import Any

from vmspec.host.atomic import replaced
from vmspec.lock import table
from vmspec.lock.drift import Change
from vmspec.lock.model import Lock
from vmspec.lock.table import FORMAT
from vmspec.schema.keypath import join
from vmspec.schema.problems import Problem, SpecError
from vmspec.schema.tables import Table, write_model
from vmspec.schema.toml_text import TomlText, contents
from vmspec.schema.value import Here, TooManyProblemsError

LARGEST = 16 << 20  # bytes; a spec is at most 1 MiB, its defaults and the images of 1,024 devices come on top


class LockText(TomlText):
    """A lock as a text, which locates what is wrong, and what has changed since."""

    def __init__(self, text: str, file: Path | None = None) -> None:
        """Raises SpecError with every problem located."""
        super().__init__(text, file)
        self.lock = self._read()

    @classmethod
    def open(cls, path: Path) -> "LockText":
        """The lock of a file. Raises SpecError, OSError if the process or the host can open nothing."""
        if not os.path.lexists(path):
            raise SpecError((Problem("", f"there is no lock; to write it: vmspec lock {path.stem}", file=path),))
        return cls(contents(path, LARGEST, "a lock"), path)

    def changed(self, change: Change) -> Problem:
        """A change at its place in the lock: that of the value that was, or of the table that lacks the new one."""
        place = self.locate(Problem(join(change.path), "", value=change.old))
        return Problem(change.name, change.message).at(place.file, place.line, place.column)

    def _read(self) -> Lock:
        number = self.data.get("format")
        if type(number) is int and number > FORMAT:
            message = f"is {number}, and this release reads up to {FORMAT}: use a newer vmrun, or write a new lock"
            raise SpecError((self.locate(Problem("format", message)),))
        here = Here(Path())
        try:
            lock: Lock | None = Table(Lock).read(self.data, here)
        except TooManyProblemsError:
            lock = None
        if lock is None or here.problems:
            raise SpecError(self._located(here.problems))
        if lock.spec_sha256 != table.spec_digest(lock.spec):
            message = "is not the hash of the table spec, which was changed by hand: write a new lock"
            raise SpecError((self.locate(Problem("spec-sha256", message)),))
        return lock


def dumps(lock: Lock, spec: str, *, ascii: bool = False) -> str:
    """The lock as TOML; ``spec`` is the name of the spec's file for people."""
    return table.dumps(write_model(lock), spec, ascii=ascii)


def of_table(value: dict[str, Any]) -> Lock:
    """The lock of a table that this release has made. Raises SpecError."""
    here = Here(Path())
    lock = Table(Lock).read(value, here)
    if here.problems:
        raise SpecError(tuple(here.problems))
    assert isinstance(lock, Lock)
    return lock


def write(path: Path, lock: Lock, spec: str) -> None:
    """Write the lock's file, which appears whole. Raises OSError."""
    with replaced(path) as file:
        file.write(dumps(lock, spec).encode())
