"""The kinds of value that only a lock has."""

import re
from typing import Any

from vmspec.schema.tables import Table
from vmspec.schema.value import Here, Model, Schema, Value

IMAGES_MAX = 65_536  # a spec has at most 1,024 devices
SHA256 = "[0-9a-f]{64}"


class Sha256(Value):
    """A SHA-256; ``empty``: or "", where the content was not hashed."""

    def __init__(self, empty: bool = False) -> None:
        self.empty = empty

    @property
    def allowed(self) -> str:
        return "64 hexadecimal digits in lower case" + (', or "" for a file that was not hashed' if self.empty else "")

    def read(self, value: object, here: Here) -> Any:
        if isinstance(value, str) and (re.fullmatch(SHA256, value) or (self.empty and value == "")):
            return value
        return here.wrong("is not a SHA-256", value, self.allowed)

    def schema(self) -> Schema:
        return {"type": "string", "pattern": f"^({SHA256}){'?' if self.empty else ''}$"}


class AnyTable(Value):
    """A table of anything."""

    allowed = "a table"

    def read(self, value: object, here: Here) -> Any:
        return value if isinstance(value, dict) else here.wrong("must be a table", value, self.allowed)

    def schema(self) -> Schema:
        return {"type": "object"}


class Numbers(Value):
    """A table of whole numbers by name."""

    allowed = "a table of whole numbers"

    def read(self, value: object, here: Here) -> Any:
        if not isinstance(value, dict):
            return here.wrong("must be a table", value, self.allowed)
        for name, number in value.items():
            if type(number) is not int or not -(1 << 31) <= number < 1 << 31:
                here.at(name).wrong("must be a whole number of 32 bits", number)
        return value

    def schema(self) -> Schema:
        return {"type": "object", "additionalProperties": {"type": "integer"}}


class Named(Value):
    """A table of tables, by name, each for one model."""

    def __init__(self, model: type[Model]) -> None:
        self.table = Table(model)

    allowed = "a table of tables"

    def read(self, value: object, here: Here) -> Any:
        if not isinstance(value, dict):
            return here.wrong("must be a table", value, self.allowed)
        if len(value) > IMAGES_MAX:
            return here.wrong(f"has {len(value):,} tables", None, f"up to {IMAGES_MAX:,}")
        return {name: self.table.read(item, here.at(name)) for name, item in value.items()}

    def write(self, value: Any) -> Any:
        return {name: self.table.write(item) for name, item in value.items()}

    def schema(self) -> Schema:
        return {"type": "object", "additionalProperties": self.table.schema()}
