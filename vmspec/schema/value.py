"""The values of a spec, and their place while they are read.

A model's field has its :class:`Value` in its metadata (see :func:`key`). Reading, ``vmspec show`` and the JSON Schema
all use it, so a field is defined once.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from attrs import fields

from vmspec.schema.keypath import KeyPath, join
from vmspec.schema.problems import Problem

if TYPE_CHECKING:
    from attrs import Attribute

Schema = dict[str, Any]


PROBLEMS_MAX = 100  # per reading: nobody reads more, and suggesting names takes time


class TooManyProblemsError(Exception):
    """There are more than :data:`PROBLEMS_MAX` problems."""


class Here:
    """A place in the document while it is read: its key path, the directory of relative paths, and the problems and
    warnings found so far, which all places of one reading share."""

    def __init__(self, directory: Path, path: KeyPath = (), above: "Here | None" = None) -> None:
        self.directory = directory
        self.path = path
        self.problems: list[Problem] = [] if above is None else above.problems
        self.warnings: list[Problem] = [] if above is None else above.warnings

    def at(self, *steps: str | int) -> "Here":
        """The place of a key or an element below this one."""
        return Here(self.directory, (*self.path, *steps), self)

    def warn(self, message: str) -> None:
        """Add a warning for something that is valid today."""
        self.warnings.append(Problem(join(self.path), message))

    def wrong(self, message: str, value: object = None, allowed: str | None = None, nearest: str | None = None) -> None:
        """Add a problem at this place; ``value`` is the value there. Raises TooManyProblemsError."""
        if len(self.problems) >= PROBLEMS_MAX:
            raise TooManyProblemsError
        shown = None if value is None else show(value)
        self.problems.append(Problem(join(self.path), message, shown, allowed, nearest))


class Value:
    """A kind of value."""

    @property
    def allowed(self) -> str:
        """The allowed values, in words."""
        raise NotImplementedError

    def read(self, value: object, here: Here) -> Any:
        """The model's value for a TOML value. Problems are added to ``here``; the returned value is then ignored."""
        raise NotImplementedError

    def write(self, value: Any) -> Any:
        """The TOML value for a model's value; reading it gives an equal one."""
        return value

    def schema(self) -> Schema:
        """The JSON Schema of the TOML value."""
        raise NotImplementedError


class Model:
    """Base of the attrs classes for TOML tables.

    They are made with ``eq=False, repr=False``: they share one comparison here, because attrs would compile one for
    each class in every start of the program.
    """

    __slots__ = ()

    ONE_OF: ClassVar[tuple[str, ...]] = ()  # keys of which exactly one is given
    TOGETHER: ClassVar[tuple[str, ...]] = ()  # those of them that may be given together
    FORMER: ClassVar[dict[str, str]] = {}  # names of keys in the previous release: still read, with a warning
    NOT_HERE: ClassVar[dict[str, str]] = {}  # keys of models like this one, and why it has none of that name

    def __eq__(self, other: object) -> bool:
        return other.__class__ is self.__class__ and all(
            getattr(self, field.name) == getattr(other, field.name)
            for field in fields(cast(Any, type(self)))
            if field.eq
        )

    __hash__ = None  # type: ignore[assignment]  # models hold dicts

    def __repr__(self) -> str:
        values = ", ".join(f"{field.name}={getattr(self, field.name)!r}" for field in fields(cast(Any, type(self))))
        return f"{type(self).__name__}({values})"

    def faults(self) -> Iterator[tuple[KeyPath, str]]:
        """Problems between values that are valid on their own: where, and what."""
        yield from ()


def key(value: Value, doc: str, name: str | None = None) -> dict[str, object]:
    """Metadata of a model's field: its kind of value, a line of documentation, and its key in TOML if that is not the
    field's name."""
    return {"value": value, "doc": doc, "key": name}


def keys(model: type[Model]) -> "dict[str, Attribute[Any]]":
    """The fields of a model that are keys of the file, by key."""
    return {
        field.metadata["key"] or field.name: field for field in fields(cast(Any, model)) if "value" in field.metadata
    }


def show(value: object) -> str:
    """A TOML value for a message: as it is written, cut if it is long."""
    match value:
        case bool():
            return "true" if value else "false"
        case dict():
            return "a table"
        case list():
            return "an array"
        case str():
            quoted = value[:64].replace("\\", "\\\\").replace('"', '\\"')
            text = '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in quoted) + '"'
        case int() if abs(value) >= 1 << 64:
            text = hex(value)  # str() rejects numbers with thousands of digits
        case _:
            text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def nearest(name: object, known: Iterable[object]) -> str | None:
    """The known name closest to a mistyped one, or None."""
    import difflib  # only a mistake needs it

    names = {str(candidate).lower(): str(candidate) for candidate in known}
    close = difflib.get_close_matches(str(name)[:64].lower(), names, 1)
    return names[close[0]] if close else None
