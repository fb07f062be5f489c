"""Problems of a spec, and their text."""

from pathlib import Path
from typing import NamedTuple

from vmspec.host.printable import printable


class Problem(NamedTuple):
    """One fault of a spec: ``path`` is the key as a person would write it (``device[1].path``), ``message`` says what
    is wrong, ``value`` is the value there, ``allowed`` the allowed values, ``nearest`` the closest known name. ``file``
    is the spec's, or "--set KEY=VALUE" for an override."""

    path: str
    message: str
    value: str | None = None
    allowed: str | None = None
    nearest: str | None = None
    file: Path | str | None = None
    line: int | None = None  # from 1
    column: int | None = None  # from 1, in characters

    def at(self, file: Path | str | None, line: int | None, column: int | None) -> "Problem":
        """The same problem with its place in the file."""
        return self._replace(file=file, line=line, column=column)

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)
        text = f"{place}: " if place else ""
        text += f"{self.path}: {self.message}" if self.path else self.message
        if self.value is not None:
            text += f" (here: {self.value})"
        if self.allowed is not None:
            text += f"; allowed: {self.allowed}"
        if self.nearest is not None:
            text += f"; did you mean {self.nearest}?"
        return printable(text)


class SpecWarning(UserWarning):
    """A spec was read, but something in it will become invalid; the message says where, and what to write."""


class SpecError(Exception):
    """A spec cannot be used; it has every problem found."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems
