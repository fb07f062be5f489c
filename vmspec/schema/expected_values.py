"""The kinds of value that only the table ``[expect]`` has: limits by name, places on a bus, a port's verdict."""

from collections.abc import Iterable
from typing import Any

from vmspec.schema.value import Here, Schema, Value, nearest
from vmspec.schema.values import Address, Span

DEEPEST = 16  # levels of a JSON verdict


class ByName(Value):
    """A table of names, each with a value; ``among`` are the names that there are, if they are known."""

    def __init__(self, one: Value, among: Iterable[str] = ()) -> None:
        self.one = one
        self.among = tuple(among)

    @property
    def allowed(self) -> str:
        return f"a table of names, each with {self.one.allowed}"

    def read(self, value: object, here: Here) -> Any:
        if not isinstance(value, dict):
            return here.wrong("must be a table", value, self.allowed)
        for name in value:
            if not name or (self.among and name not in self.among):
                names = ", ".join(self.among) or "a name"
                here.at(name).wrong("is not one of the names", None, names, nearest(name, self.among))
        return {name: self.one.read(item, here.at(name)) for name, item in value.items()}

    def write(self, value: Any) -> Any:
        return {name: self.one.write(item) for name, item in value.items()}

    def schema(self) -> Schema:
        if self.among:
            properties = dict.fromkeys(self.among, self.one.schema())
            return {"type": "object", "properties": properties, "additionalProperties": False}
        return {"type": "object", "additionalProperties": self.one.schema(), "propertyNames": {"minLength": 1}}


class Range(Span):
    """A single port or address, or ``[start, size]``; a pair in the model."""

    @property
    def allowed(self) -> str:
        return f"a port or an address, or {super().allowed}"

    def read(self, value: object, here: Here) -> Any:
        if isinstance(value, list):
            return super().read(value, here)
        start = Address(self.end - 1).read(value, here)
        return None if start is None else (start, 1)

    def schema(self) -> Schema:
        return {"anyOf": [Address(self.end - 1).schema(), super().schema()]}


class Verdict(Value):
    """What a guest must write to a port: a line of text, or the members of a JSON object."""

    allowed = f"a line of text, or a table that JSON can express, at most {DEEPEST} levels deep"

    def read(self, value: object, here: Here) -> Any:
        match value:
            case "":
                return here.wrong("must not be empty", value, self.allowed)
            case str() if "\n" in value or "\r" in value:
                return here.wrong("must be one line", value, self.allowed)
            case str():
                return value
            case dict():
                self._look(value, here, DEEPEST)
                return value
            case _:
                return here.wrong("must be a string or a table", value, self.allowed)

    def _look(self, value: object, here: Here, deep: int) -> None:
        match value:
            case dict() | list() if not deep:
                here.wrong("is nested too deep", None, self.allowed)
            case dict():
                for name, item in value.items():
                    self._look(item, here.at(name), deep - 1)
            case list():
                for index, item in enumerate(value):
                    self._look(item, here.at(index), deep - 1)
            case int() if not -(1 << 63) <= value < 1 << 63:
                here.wrong("is out of TOML's range", value, "64 bits with sign")
            case str() | bool() | int():
                pass
            case float() if value - value == 0:  # finite
                pass
            case _:
                here.wrong("is not a value of JSON", value, self.allowed)

    def schema(self) -> Schema:
        return {"anyOf": [{"type": "string", "minLength": 1}, {"type": "object"}]}
