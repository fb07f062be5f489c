"""The kinds of value that belong to one table: machine code, registers, a Python class and its options."""

import re
from typing import Any, ClassVar

from vmspec.schema.value import Here, Schema, Value, nearest
from vmspec.schema.values import Address

REGISTERS = (
    *("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp"),
    *("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"),
    "rflags",
)

# Writers walk the options recursively.
DEEPEST = 16


class Code(Value):
    """Machine code as hexadecimal text, bytes in the model. Spaces, line ends, and comments from ``#`` or ``;`` to the
    end of the line are allowed between bytes."""

    allowed = 'pairs of hexadecimal digits, such as "b8 01 00 f4"'

    def read(self, value: object, here: Here) -> Any:
        if not isinstance(value, str):
            return here.wrong("must be a string", value, self.allowed)
        code = bytearray()
        for number, line in enumerate(value.split("\n"), 1):
            digits = re.split("[#;]", line, maxsplit=1)[0]
            try:
                code += bytes.fromhex(digits)
            except ValueError:
                return here.wrong(f"line {number} of the code is not hexadecimal", digits.strip(), self.allowed)
        if not code:
            return here.wrong("must not be empty", value, self.allowed)
        return bytes(code)

    def write(self, value: Any) -> Any:
        return value.hex(" ")

    def schema(self) -> Schema:
        return {"type": "string"}


class Registers(Value):
    """Initial values of general registers, by their 64-bit names."""

    allowed = f"a table of registers: {', '.join(REGISTERS)}"

    def read(self, value: object, here: Here) -> Any:
        if not isinstance(value, dict):
            return here.wrong("must be a table", value, self.allowed)
        number = Address((1 << 64) - 1)
        for name in value:
            if name in REGISTERS:
                continue
            if name in ("rip", "eip", "ip"):
                here.at(name).wrong("the first instruction is given by boot.entry")
            else:
                here.at(name).wrong("unknown register", None, ", ".join(REGISTERS), nearest(name, REGISTERS))
        return {name: number.read(item, here.at(name)) for name, item in value.items() if name in REGISTERS}

    def write(self, value: Any) -> Any:
        return {name: f"{number:#x}" for name, number in value.items()}

    def schema(self) -> Schema:
        number = Address((1 << 64) - 1).schema()
        properties = dict.fromkeys(REGISTERS, number)
        return {"type": "object", "properties": properties, "additionalProperties": False}


class ClassName(Value):
    """``module:Class``."""

    PATTERN = r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*"

    allowed = '"module:Class", the module beside the spec'

    def read(self, value: object, here: Here) -> Any:
        if isinstance(value, str) and re.fullmatch(self.PATTERN, value):
            return value
        return here.wrong("does not name a class", value, self.allowed)

    def schema(self) -> Schema:
        return {"type": "string", "pattern": f"^{self.PATTERN}$"}


class PortName(Value):
    """A port's name, which Linux shows in /sys/class/virtio-ports."""

    PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"

    allowed = "up to 64 letters, digits, dots, _ and -, the first a letter or digit"

    def read(self, value: object, here: Here) -> Any:
        if isinstance(value, str) and re.fullmatch(self.PATTERN, value):
            return value
        return here.wrong("is not a port's name", value, self.allowed)

    def schema(self) -> Schema:
        return {"type": "string", "pattern": f"^{self.PATTERN}$"}


class Ascii(Value):
    """Up to ``most`` printable ASCII characters."""

    def __init__(self, most: int) -> None:
        self.most = most

    @property
    def allowed(self) -> str:
        return f"up to {self.most} printable ASCII characters"

    def read(self, value: object, here: Here) -> Any:
        if isinstance(value, str) and len(value) <= self.most and value.isascii() and value.isprintable():
            return value
        return here.wrong("is not such a text", value, self.allowed)

    def schema(self) -> Schema:
        return {"type": "string", "pattern": f"^[ -~]{{0,{self.most}}}$"}


class Hexadecimal(Value):
    """So many bytes as hexadecimal digits."""

    def __init__(self, size: int) -> None:
        self.size = size

    @property
    def allowed(self) -> str:
        return f"{2 * self.size} hexadecimal digits"

    def read(self, value: object, here: Here) -> Any:
        if isinstance(value, str) and re.fullmatch(f"[0-9A-Fa-f]{{{2 * self.size}}}", value):
            return value.lower()
        return here.wrong("is not such a number", value, self.allowed)

    def schema(self) -> Schema:
        return {"type": "string", "pattern": f"^[0-9A-Fa-f]{{{2 * self.size}}}$"}


class Tag(Value):
    """The name of a shared folder (virtio 1.2, 5.11.4)."""

    MOST = 36  # bytes

    allowed = f"up to {MOST} bytes of text, without spaces"

    def _fits(self, value: str) -> bool:
        return len(value.encode(errors="replace")) <= self.MOST

    def read(self, value: object, here: Here) -> Any:
        if isinstance(value, str) and value.isprintable() and re.fullmatch(r"\S+", value) and self._fits(value):
            return value
        return here.wrong("is not a tag", value, self.allowed)

    def schema(self) -> Schema:
        return {"type": "string", "pattern": r"^\S+$", "maxLength": self.MOST}


class Windows(Value):
    """Regions that a device maps itself, by their names: the bus and the size of each."""

    SPACES: ClassVar[dict[str, int]] = {"port": 0x10000, "mmio": 1 << 40}
    NAME = r"[a-z][a-z0-9_-]{0,31}"

    allowed = "a table of names, each with { port = SIZE } or { mmio = SIZE }, powers of two"

    def read(self, value: object, here: Here) -> Any:
        if not isinstance(value, dict):
            return here.wrong("must be a table", value, self.allowed)
        for name, window in value.items():
            there = here.at(name)
            if not re.fullmatch(self.NAME, name) or name in self.SPACES:
                there.wrong("is not a region's name", None, "lower-case letters, digits, - and _, not port or mmio")
            if not isinstance(window, dict) or len(window) != 1 or not window.keys() <= self.SPACES.keys():
                there.wrong("must have a bus and a size", None, self.allowed)
                continue
            [(space, size)] = window.items()
            if type(size) is not int or not 0 < size <= self.SPACES[space] or size & size - 1:
                there.at(space).wrong("is not a size", size, f"a power of two, at most {self.SPACES[space]:#x}")
        return value

    def schema(self) -> Schema:
        sizes = {space: {"type": "integer", "minimum": 1, "maximum": most} for space, most in self.SPACES.items()}
        window = {"type": "object", "properties": sizes, "additionalProperties": False, "minProperties": 1}
        return {"type": "object", "additionalProperties": window | {"maxProperties": 1}}


class Options(Value):
    """A table with the keyword arguments of a device class."""

    allowed = f"a table, at most {DEEPEST} levels deep"

    def read(self, value: object, here: Here) -> Any:
        if not isinstance(value, dict):
            return here.wrong("must be a table", value, self.allowed)
        for name in value:
            if not name.isidentifier():
                here.at(name).wrong("is not a name that Python takes as an argument")
        # Level by level, because a document may be deeper than the interpreter's stack.
        level: list[tuple[Here, Any]] = [(here, value)]
        for _ in range(DEEPEST):
            inner = []
            for place, holder in level:
                items = holder.items() if isinstance(holder, dict) else enumerate(holder)
                for step, item in items:
                    if isinstance(item, dict | list):
                        inner.append((place.at(step), item))
                    elif isinstance(item, int) and not -(1 << 63) <= item < 1 << 63:
                        place.at(step).wrong("is out of TOML's range", item, "64 bits with sign")
            level = inner
        for place, _ in level:
            place.wrong("is nested too deep", None, self.allowed)
        return value

    def schema(self) -> Schema:
        return {"type": "object"}
