"""The folder of a suite's artefacts: what runs left, and which cases failed the last time.

A suite uses only a folder that is empty or new, or that a suite made, and empties it first. A lock keeps two suites
from using one folder at the same time.
"""

import json
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from runner.suite.collect import Case
from runner.workers.folder import FolderError, held
from runner.workers.task import Outcome
from vmspec.host.atomic import replaced

STATE = "vmrun-test.json"
IGNORE = ".gitignore"
NAME_MAX = 100  # characters of a folder's name
TRACE, CONSOLE = "trace.arrow", "console.txt"


class Artefacts:
    """A folder that is prepared and locked, made by :meth:`opened`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.failed = self._read()  # names of cases that failed, of the last suite here
        self._taken: set[str] = set()

    @classmethod
    @contextmanager
    def opened(cls, folder: Path) -> Iterator[Self]:
        """Prepare the folder, and hold it. Raises FolderError, OSError."""
        with held(folder, "vmrun test") as place:
            found = {path.name for path in place.iterdir()}
            if found and STATE not in found:
                raise FolderError(f"{place}: it has files, and vmrun test did not make it; choose another with -o")
            made = cls(place)
            made._empty(found - {STATE})
            yield made

    def _read(self) -> tuple[str, ...]:
        with suppress(OSError, ValueError):
            match json.loads((self.folder / STATE).read_bytes()):
                case {"failed": [*names]}:
                    return tuple(name for name in names if isinstance(name, str))
        return ()

    def _empty(self, names: Iterable[str]) -> None:
        self.keep(self.failed)
        for name in names:
            path = self.folder / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        (self.folder / IGNORE).write_text("*\n")  # what runs left is nothing to commit

    def keep(self, failed: Iterable[str]) -> None:
        """Keep which cases failed. Raises OSError."""
        with replaced(self.folder / STATE) as file:
            file.write(json.dumps({"failed": [*failed]}, indent=1).encode())

    def place(self, case: Case) -> Path:
        """The path for what a case leaves; nothing is there yet."""
        plain = re.sub(r"[^\w.,=+-]+", "-", case.name).strip("-.")[:NAME_MAX] or "spec"
        name, number = plain, 1
        while name.lower() in self._taken:
            number += 1
            name = f"{plain}~{number}"
        self._taken.add(name.lower())
        return self.folder / name


def save(trace: Path, outcome: Outcome) -> None:
    """Save the console of a run beside its trace. Raises OSError."""
    if outcome.result is not None:
        (trace.parent / CONSOLE).write_bytes(outcome.result.console)
