"""A spec's document: the text, its contents with the overrides applied, and the place of each key and value."""

import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import evolve

from vmspec.host.pathtext import to_text
from vmspec.schema import overrides as override
from vmspec.schema.expressions import texts
from vmspec.schema.keypath import KeyPath, join
from vmspec.schema.problems import Problem, SpecError, SpecWarning
from vmspec.schema.tables import Table
from vmspec.schema.toml_text import TomlText, contents
from vmspec.schema.value import Here, TooManyProblemsError
from vmspec.spec.matrix import MATRIX, MatrixTable, combinations
from vmspec.spec.models import Spec

if TYPE_CHECKING:
    from vmspec.plan.plan import Plan

# People write specs; a larger file is a mistake, such as the name of an image.
LARGEST = 1 << 20
SHOWN = 60  # characters of an override in a message


class Document(TomlText):
    """A TOML document that parses. ``spec()`` and ``plan()`` raise SpecError with every problem located.

    Overrides that do not fit are problems of ``spec()``, so that they are reported with all others.
    """

    def __init__(
        self,
        text: str,
        directory: Path,
        overrides: Sequence[str] | str = (),
        file: Path | None = None,
        sources: Path | None = None,
    ) -> None:
        """Raises SpecError if the text is not TOML. Relative paths begin at ``directory``; ``sources`` is where the
        classes of devices are, if not there."""
        super().__init__(text, file)
        self.directory = directory
        self.sources = sources
        self.overrides = tuple(map(_text, texts(overrides)))
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
        return cls(contents(path, LARGEST, "a spec"), path.absolute().parent, overrides, path)

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
        file = self.file and self.file.absolute()
        base = None if file is not None and file.parent == self.directory else self.directory
        spec = evolve(spec, path=file, overrides=self.overrides, base=base, sources=self.sources)
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

    def combinations(self) -> "dict[str, Document]":
        """A document for each combination of the matrix, by its name, such as ``vm.vcpus=2``; the document itself, by
        the name "", if there is no matrix. Raises SpecError if the matrix is wrong."""
        here, axes = Here(self.directory, (MATRIX,)), {}
        with suppress(TooManyProblemsError):
            axes = MatrixTable().read(self.data.get(MATRIX, {}), here)
        if here.problems:
            raise SpecError(self._located(here.problems))
        if not axes:
            return {"": self}
        return {",".join(overrides): self._with(overrides) for overrides in combinations(axes)}

    def _with(self, overrides: Sequence[str]) -> "Document":
        """The document with more overrides, which come from its matrix."""
        changed = Document(self.text, self.directory, self.overrides, self.file)
        for expression in overrides:
            changed._override(expression, f"{self.file}: [{MATRIX}] {expression[:SHOWN]}")
        changed.overrides += tuple(overrides)
        return changed

    def _found(self, problem: Problem, path: KeyPath) -> Problem | None:
        if path in self._sources:
            return problem.at(self._sources[path], None, None)
        # The text still has what an override has replaced, but the problem is not there.
        if any(path[:n] in self._sources for n in range(len(path))):
            return None
        return super()._found(problem, path)

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
