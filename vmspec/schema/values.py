"""The kinds of value that any table may have: texts, numbers, quantities, choices, paths."""

from datetime import UTC, datetime
from typing import Any

from vmspec.host.pathtext import from_text, to_text
from vmspec.schema import units
from vmspec.schema.value import Here, Schema, Value, nearest


class Text(Value):
    """A string; ``line``: without control characters, and not empty unless ``empty`` is set."""

    def __init__(self, line: bool = False, empty: bool = False) -> None:
        self.line = line
        self.empty = empty or not line

    @property
    def allowed(self) -> str:
        return "a line of text" if self.line else "a string"

    def read(self, value: object, here: Here) -> Any:
        match value:
            case "" if not self.empty:
                return here.wrong("must not be empty", value, self.allowed)
            case str() if self.line and any(c < " " or c == "\x7f" for c in value):
                return here.wrong("holds control characters", value, self.allowed)
            case str():
                return value
            case _:
                return here.wrong("must be a string", value, self.allowed)

    def schema(self) -> Schema:
        if not self.line:
            return {"type": "string"}
        return {"type": "string", "pattern": r"^[^\u0000-\u001f\u007f]" + ("*$" if self.empty else "+$")}


class Flag(Value):
    """True or false."""

    allowed = "true or false"

    def read(self, value: object, here: Here) -> Any:
        if isinstance(value, bool):
            return value
        return here.wrong("must be a boolean", value, self.allowed)

    def schema(self) -> Schema:
        return {"type": "boolean"}


class Integer(Value):
    """A whole number from ``low`` to ``high``; ``power``: a power of two."""

    def __init__(self, low: int, high: int, power: bool = False) -> None:
        self.low = low
        self.high = high
        self.power = power

    @property
    def allowed(self) -> str:
        return f"{'a power of two' if self.power else 'a whole number'} from {self.low} to {self.high}"

    def read(self, value: object, here: Here) -> Any:
        match value:
            case bool():
                return here.wrong("must be a whole number", value, self.allowed)
            case int() if not self.low <= value <= self.high:
                return here.wrong("is out of range", value, self.allowed)
            case int() if self.power and value & (value - 1):
                return here.wrong("must be a power of two", value, self.allowed)
            case int():
                return value
            case _:
                return here.wrong("must be a whole number", value, self.allowed)

    def schema(self) -> Schema:
        if self.power:
            return {"enum": [1 << n for n in range(64) if self.low <= 1 << n <= self.high]}
        return {"type": "integer", "minimum": self.low, "maximum": self.high}


class Choice(Value):
    """One of a few words or numbers."""

    def __init__(self, *among: str | int | bool) -> None:
        self.among = among

    @property
    def allowed(self) -> str:
        return ", ".join(str(one).lower() if isinstance(one, bool) else str(one) for one in self.among)

    def read(self, value: object, here: Here) -> Any:
        # By type too: True == 1, and 1.0 == 1.
        if any(type(value) is type(one) and value == one for one in self.among):
            return value
        near = nearest(value, self.among) if isinstance(value, str) else None
        return here.wrong("is not one of the choices", value, self.allowed, near)

    def schema(self) -> Schema:
        return {"enum": list(self.among)}


class Many(Value):
    """Any number of values in an array, or a single one; a tuple in the model."""

    def __init__(self, one: Value) -> None:
        self.one = one

    @property
    def allowed(self) -> str:
        return f"{self.one.allowed}; or an array of these"

    def read(self, value: object, here: Here) -> Any:
        if isinstance(value, list):
            return tuple(self.one.read(item, here.at(index)) for index, item in enumerate(value))
        return (self.one.read(value, here),)

    def write(self, value: Any) -> Any:
        return [self.one.write(item) for item in value]

    def schema(self) -> Schema:
        one = self.one.schema()
        return {"anyOf": [one, {"type": "array", "items": one}]}


class Size(Value):
    """A number of bytes from ``low`` to ``high``, a multiple of ``step``."""

    def __init__(self, low: int, high: int, step: int = 1) -> None:
        self.low = low
        self.high = high
        self.step = step

    @property
    def allowed(self) -> str:
        text = f'a size such as "512MiB", from {units.format_size(self.low)} to {units.format_size(self.high)}'
        return text if self.step == 1 else f"{text}, a multiple of {units.format_size(self.step)}"

    def read(self, value: object, here: Here) -> Any:
        size = _number(value, units.parse_size, self.allowed, here)
        if size is None:
            return None
        if not self.low <= size <= self.high:
            return here.wrong("is out of range", value, self.allowed)
        if size % self.step:
            return here.wrong(f"is not a multiple of {units.format_size(self.step)}", value, self.allowed)
        return size

    def write(self, value: Any) -> Any:
        return units.format_size(value)

    def schema(self) -> Schema:
        number: Schema = {"type": "integer", "minimum": self.low, "maximum": self.high, "multipleOf": self.step}
        return {"anyOf": [number, {"type": "string", "pattern": f"^{units.SIZE_PATTERN}$"}]}


class Duration(Value):
    """A time span, nanoseconds in the model; a bare number in TOML is seconds."""

    LONGEST = 366 * 24 * 3600 * 10**9

    allowed = 'a duration such as "60s" or "500ms", or a number of seconds, more than 0 and up to a year'

    def read(self, value: object, here: Here) -> Any:
        match value:
            case float():
                duration = round(value * 1e9) if 0 < value < self.LONGEST else -1  # NaN is neither
            case int() if not isinstance(value, bool):
                duration = value * 10**9
            case _:
                parsed = _number(value, units.parse_duration, self.allowed, here)
                if parsed is None:
                    return None
                duration = parsed
        if not 0 < duration <= self.LONGEST:
            return here.wrong("is out of range", value, self.allowed)
        return duration

    def write(self, value: Any) -> Any:
        return units.format_duration(value)

    def schema(self) -> Schema:
        number: Schema = {"type": "number", "exclusiveMinimum": 0, "maximum": self.LONGEST // 10**9}
        return {"anyOf": [number, {"type": "string", "pattern": f"^{units.DURATION_PATTERN}$"}]}


class Address(Value):
    """An address, a port or a register's value, ``low`` to ``high``; a hexadecimal string can exceed TOML's signed 64
    bits."""

    def __init__(self, high: int, low: int = 0) -> None:
        self.high = high
        self.low = low

    @property
    def allowed(self) -> str:
        return f"a number from {self.low:#x} to {self.high:#x}"

    def read(self, value: object, here: Here) -> Any:
        number = _number(value, units.parse_address, self.allowed, here)
        if number is not None and not self.low <= number <= self.high:
            return here.wrong("is out of range", value, self.allowed)
        return number

    def write(self, value: Any) -> Any:
        return f"{value:#x}"

    def schema(self) -> Schema:
        number: Schema = {"type": "integer", "minimum": self.low, "maximum": self.high}
        return {"anyOf": [number, {"type": "string", "pattern": f"^{units.ADDRESS_PATTERN}$"}]}


class Span(Value):
    """``[start, size]`` of a bus range below ``end``; a pair in the model."""

    def __init__(self, end: int) -> None:
        self.end = end

    @property
    def allowed(self) -> str:
        return f"[start, size], from 0x0 up to {self.end:#x}"

    def read(self, value: object, here: Here) -> Any:
        if not isinstance(value, list) or len(value) != 2:
            return here.wrong("must be an array of two numbers", value, self.allowed)
        start = Address(self.end - 1).read(value[0], here.at(0))
        size = Address(self.end, low=1).read(value[1], here.at(1))
        if start is not None and size is not None and start + size > self.end:
            return here.wrong("ends out of range", None, self.allowed)
        return start, size

    def write(self, value: Any) -> Any:
        return [f"{value[0]:#x}", value[1]]

    def schema(self) -> Schema:
        items = [Address(self.end - 1).schema(), Address(self.end, low=1).schema()]
        return {"type": "array", "prefixItems": items, "minItems": 2, "maxItems": 2}


class Moment(Value):
    """A date and time; UTC in the model, and in TOML if it has no offset."""

    def __init__(self, low: datetime, high: datetime) -> None:
        self.low = low
        self.high = high

    @property
    def allowed(self) -> str:
        return f"a date and time from {self.low:%Y-%m-%dT%H:%M:%SZ} to {self.high:%Y-%m-%dT%H:%M:%SZ}, without quotes"

    def read(self, value: object, here: Here) -> Any:
        if not isinstance(value, datetime):
            return here.wrong("must be a date and time", value, self.allowed)
        moment = value.replace(tzinfo=UTC) if value.tzinfo is None else value
        if not self.low <= moment <= self.high:
            return here.wrong("is out of range", value, self.allowed)
        return moment.astimezone(UTC)

    def schema(self) -> Schema:
        return {"type": "string", "format": "date-time"}


# Names that mean no file. If they are not among the key's words, a file of that name would be made silently.
STANDARD = ("-", "none", "stdin", "stdout", "stderr")


class File(Value):
    """A path, absolute in the model; a relative one is relative to the spec. ``words`` are names that are not paths and
    stay strings."""

    def __init__(self, *words: str) -> None:
        self.words = words

    @property
    def allowed(self) -> str:
        return ", ".join([f'"{word}"' for word in self.words] + ["a path"])

    def read(self, value: object, here: Here) -> Any:
        match value:
            case str() if value in self.words:
                return value
            case "":
                return here.wrong("must not be empty", value, self.allowed)
            case str() if value.lower() in STANDARD:
                return here.wrong(
                    f'is not the name of a file; for a file of that name, write "./{value}"', value, self.allowed
                )
            case str() if value.endswith("/"):
                return here.wrong("names a directory, not a file", value, self.allowed)
            case str():
                try:
                    return here.directory / from_text(value)
                except ValueError as error:
                    return here.wrong(str(error), value, self.allowed)
            case _:
                return here.wrong("must be a string", value, self.allowed)

    def write(self, value: Any) -> Any:
        # An absolute path is never one of the words.
        return to_text(value)

    def schema(self) -> Schema:
        words: Schema = {"enum": list(self.words)}
        path: Schema = {"type": "string", "minLength": 1}
        return {"anyOf": [words, path]} if self.words else path


def _number(value: object, parse: Any, allowed: str, here: Here) -> int | None:
    """A whole number as it is, or a string through a parser of units."""
    match value:
        case bool() | float():
            here.wrong("must be a whole number or a string", value, allowed)
        case int():
            return value
        case str():
            try:
                return int(parse(value))
            except ValueError as error:
                here.wrong(str(error), value, allowed)
        case _:
            here.wrong("must be a number or a string", value, allowed)
    return None
