"""A spec's document: the text, its contents with the overrides applied, and the place of each key and value."""

import codecs
import errno
import os
import re
import stat
import warnings
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve

from vmspec.host.pathtext import to_text
from vmspec.schema import overrides as override
from vmspec.schema import toml
from vmspec.schema.expressions import texts
from vmspec.schema.keypath import KeyPath, join, split
from vmspec.schema.problems import Problem, SpecError, SpecWarning
from vmspec.schema.tables import Table
from vmspec.schema.value import Here, TooManyProblemsError
from vmspec.spec.models import Spec

if TYPE_CHECKING:
    from vmspec.plan.plan import Plan
    from vmspec.schema.positions import Place

# People write specs; a larger file is a mistake, such as the name of an image.
LARGEST = 1 << 20
SHOWN = 60  # characters of an override in a message

# How tomllib ends its messages.
SYNTAX = r"(?P<what>.*) \(at (line (?P<line>\d+), column (?P<column>\d+)|end of document)\)"


def _contents(path: Path) -> bytes:
    """The bytes of a spec, at most one more than allowed; also from a pipe, such as <(...) of a shell.

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
        while len(data) <= LARGEST and (more := file.read(LARGEST + 1 - len(data))):
            data += more
    return bytes(data)


class Document:
    """A TOML document that parses. ``spec()`` and ``plan()`` raise SpecError with every problem located.

    Overrides that do not fit are problems of ``spec()``, so that they are reported with all others.
    """

    def __init__(
        self, text: str, directory: Path, overrides: Sequence[str] | str = (), file: Path | None = None
    ) -> None:
        """Raises SpecError if the text is not TOML. Relative paths begin at ``directory``."""
        self.text = text
        self.directory = directory
        self.file = file
        self.overrides = tuple(map(_text, texts(overrides)))
        self.data = self._parse()
        self._sources: dict[KeyPath, str] = {}  # what an override has set, and which override
        self._problems: list[Problem] = []
        self.warned = False  # spec() has warned the user
        for expression in self.overrides:
            self._override(expression, f"--set {expression[:SHOWN]}")

    @classmethod
    def open(cls, path: str | Path, overrides: Sequence[str] | str = ()) -> "Document":
        """The document of a file. Raises SpecError if it cannot be read, OSError if the process or the host can open
        nothing."""
        path = Path(path)
        try:
            data = _contents(path)
            data = data.removeprefix(codecs.BOM_UTF8)  # editors on Windows put it at the beginning of a file
            if len(data) > LARGEST:
                raise SpecError((Problem("", f"is too large for a spec, more than {LARGEST} bytes", file=path),))
            text = data.decode()
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            column = len(data[data.rfind(b"\n", 0, error.start) + 1 : error.start].decode()) + 1
            problem = Problem("", "is not UTF-8 text", hex(data[error.start]))
            raise SpecError((problem.at(path, line, column),)) from None
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise  # the process or the host is the cause, not the spec
            raise SpecError((Problem("", f"cannot be read: {error.strerror}", file=path),)) from None
        except ValueError as error:  # a name that no file can have
            raise SpecError((Problem("", f"cannot be read: {error}", file=path),)) from None
        return cls(text, path.absolute().parent, overrides, path)

    def spec(self) -> Spec:
        """The document as a model. Warns (SpecWarning) of former names. Raises SpecError with every problem located."""
        here = Here(self.directory)
        spec: Spec | None = None
        more: tuple[Problem, ...] = ()
        try:
            spec = Table(Spec).read(self.data, here)
        except TooManyProblemsError:
            more = (Problem("", f"has more problems than these {len(here.problems)}").at(self.file, 1, 1),)
        if spec is None or self._problems or here.problems:
            raise SpecError((*self._located([*self._problems, *here.problems]), *more))
        spec = evolve(spec, path=self.file and self.file.absolute(), overrides=self.overrides)
        for path, message in spec.faults():  # again, for problems of a spec that names its own file
            here.at(*path).wrong(message)
        if here.problems:
            raise SpecError(self._located(here.problems))
        self.warned = bool(here.warnings)
        for warning in self._located(here.warnings):
            warnings.warn(str(warning), SpecWarning, stacklevel=2)
        return spec

    def plan(self) -> "Plan":
        """The plan of the model. Reads the images that the spec names. Raises SpecError with every problem located."""
        from vmspec.planner import plan

        spec = self.spec()
        try:
            return plan(spec)
        except SpecError as error:
            raise SpecError(self._located(error.problems)) from None

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
            if path in self._sources:
                return problem.at(self._sources[path], None, None)
            # The text still has what an override has replaced, but the problem is not there.
            if path in self._places and not any(path[:n] in self._sources for n in range(len(path))):
                place = self._places[path]
                offset = place.key if problem.value is None else place.value
                return self._at(problem, offset)
            path = path[:-1]
        return problem.at(self.file, 1, 1)

    @cached_property
    def _places(self) -> "dict[KeyPath, Place]":
        from vmspec.schema.positions import find  # only a wrong spec needs places

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

    def _override(self, expression: str, source: str) -> None:
        try:
            path, value = override.parse(expression)
        except ValueError as error:
            self._problems.append(Problem("", str(error), expression, file=source))
            return
        try:
            new = override.apply(self.data, path, value)
        except ValueError as error:
            self._problems.append(Problem(join(path), str(error), file=source))
            return
        self._sources = {known: place for known, place in self._sources.items() if known[: len(path)] != path}
        self._sources[new] = source


def _text(argument: str) -> str:
    """An override as text; its bytes may be a path that is not UTF-8. A str without a text form stays as it is; no key
    takes it as a value."""
    try:
        return to_text(argument)
    except ValueError:
        return argument.encode("utf-8", "backslashreplace").decode()
