"""Regular expressions for lines of a console."""

from typing import Any

from vmspec.schema.regex import compiled
from vmspec.schema.value import Here, Schema, Value

LONGEST = 1000  # characters


class Pattern(Value):
    """A regular expression in the syntax of RE2, whose time grows with the text alone."""

    allowed = "a regular expression in the syntax of RE2, up to 1000 characters"

    def read(self, value: object, here: Here) -> Any:
        if not isinstance(value, str):
            return here.wrong("must be a string", value, self.allowed)
        if not value or len(value) > LONGEST:
            return here.wrong("must not be empty" if not value else "is too long", value, self.allowed)
        try:
            compiled(value)
        except ValueError as error:
            return here.wrong(f"is not a regular expression: {error}", value, self.allowed)
        return value

    def schema(self) -> Schema:
        return {"type": "string", "minLength": 1, "maxLength": LONGEST}
