"""A TOML file as people write them: its text, its contents, and the place of each key and value for problems."""

import codecs
import errno
import os
import re
import stat
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vmspec.schema import toml
from vmspec.schema.keypath import KeyPath, split
from vmspec.schema.problems import Problem, SpecError

if TYPE_CHECKING:
    from vmspec.schema.positions import Place

# How tomllib ends its messages.
SYNTAX = r"(?P<what>.*) \(at (line (?P<line>\d+), column (?P<column>\d+)|end of document)\)"


def contents(path: Path, largest: int, what: str) -> str:
    """The text of a file of at most ``largest`` bytes; ``what`` it should be is for the message. Also from a pipe, such
    as <(...) of a shell.

    Raises SpecError if it cannot be read, OSError if the process or the host can open nothing.
    """
    try:
        data = _bytes(path, largest)
        data = data.removeprefix(codecs.BOM_UTF8)  # editors on Windows put it at the beginning of a file
        if len(data) > largest:
            raise SpecError((Problem("", f"is too large for {what}, more than {largest} bytes", file=path),))
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = len(data[data.rfind(b"\n", 0, error.start) + 1 : error.start].decode()) + 1
        problem = Problem("", "is not UTF-8 text", hex(data[error.start]))
        raise SpecError((problem.at(path, line, column),)) from None
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise  # the process or the host is the cause, not the file
        raise SpecError((Problem("", f"cannot be read: {error.strerror}", file=path),)) from None
    except ValueError as error:  # a name that no file can have
        raise SpecError((Problem("", f"cannot be read: {error}", file=path),)) from None


def _bytes(path: Path, largest: int) -> bytes:
    """The bytes of a file, at most one more than allowed.

    Raises OSError, also for a pipe without a writer, which would block forever.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            first = file.read(1)  # None if a writer has written nothing yet
            if first == b"":
                raise OSError(errno.EPIPE, "it is a pipe without a writer")
        else:
            first = b""
        os.set_blocking(descriptor, True)
        data = bytearray(first or b"")
        while len(data) <= largest and (more := file.read(largest + 1 - len(data))):
            data += more
    return bytes(data)


class TomlText:
    """A TOML text that parses; ``file`` is named in problems."""

    def __init__(self, text: str, file: Path | None = None) -> None:
        """Raises SpecError if the text is not TOML."""
        self.text = text
        self.file = file
        self.data = self._parse()

    def locate(self, problem: Problem) -> Problem:
        """The problem with its place: that of the item its path names, or of the innermost table around it in the
        document. It is the place of the value if the problem shows a value, else of the key."""
        if problem.file is not None:
            return problem
        try:
            path = split(problem.path)
        except ValueError:
            path = ()
        while path:
            if (found := self._found(problem, path)) is not None:
                return found
            path = path[:-1]
        return problem.at(self.file, 1, 1)

    def _found(self, problem: Problem, path: KeyPath) -> Problem | None:
        """The problem at the item of a path, if the document has the item."""
        if path not in self._places:
            return None
        place = self._places[path]
        return self._at(problem, place.key if problem.value is None else place.value)

    @cached_property
    def _places(self) -> "dict[KeyPath, Place]":
        from vmspec.schema.positions import find  # only a wrong document needs places

        return find(self.text)

    def _at(self, problem: Problem, offset: int) -> Problem:
        """The problem with line and column from 1, for an offset in the text."""
        line = self.text.count("\n", 0, offset) + 1
        return problem.at(self.file, line, offset - self.text.rfind("\n", 0, offset))

    def _located(self, problems: Iterable[Problem]) -> tuple[Problem, ...]:
        """The problems in the order of the text, those of overrides first."""
        return tuple(sorted(map(self.locate, problems), key=lambda problem: (problem.line or 0, problem.column or 0)))

    def _parse(self) -> dict[str, Any]:
        try:
            return toml.loads(self.text)
        except RecursionError:
            raise SpecError((Problem("", "is nested too deep").at(self.file, 1, 1),)) from None
        except ValueError as error:
            raise SpecError((self._syntax(str(error)),)) from None

    def _syntax(self, message: str) -> Problem:
        """The problem for tomllib's error, whose message may contain the place."""
        found = re.fullmatch(SYNTAX, message, re.DOTALL)
        if found is None and "int_max_str_digits" in message:  # Python's own limit, which tomllib passes on
            return Problem("", "holds a number of more than 4,000 digits").at(self.file, 1, 1)
        if found is None:
            return Problem("", f"is not TOML: {message}").at(self.file, 1, 1)
        problem = Problem("", f"is not TOML: {found['what']}")
        if found["line"] is None:
            return self._at(problem, len(self.text))
        return problem.at(self.file, int(found["line"]), int(found["column"]))
