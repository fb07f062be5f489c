"""Regular expressions for lines of a console."""

from typing import Any

from vmspec.schema.value import Here, Schema, Value

LONGEST = 1000  # characters
MEMORY = 1 << 20  # bytes of a compiled pattern, at most: the time for each character grows with it


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


def compiled(pattern: str) -> Any:
    """The compiled pattern: its ``search`` takes text. Raises ValueError with RE2's reason."""
    import re2  # late: few specs have patterns

    options = re2.Options()
    options.log_errors = False  # RE2 would print them
    options.max_mem = MEMORY
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else error
        raise ValueError(reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)) from None
