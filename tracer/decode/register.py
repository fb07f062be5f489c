"""Registers as in their data sheets: a name for each direction, and the meaning of a value's bits."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple


class Bit(NamedTuple):
    """One bit, shown by its name if it is set."""

    mask: int
    name: str


class Field(NamedTuple):
    """Neighbouring bits that are a number: shown as "name=3", or as the number's word."""

    mask: int
    name: str
    words: Mapping[int, str] | None = None


Bits = Sequence[Bit | Field]
READ, WRITE = "read", "write"


class Register(NamedTuple):
    """One register. ``write`` is its name for writes, if different; ``size`` its bytes.

    ``bits`` describe a value in both directions, ``read_bits`` and ``write_bits`` in one. ``meaning`` decodes values
    for which bits do not suffice.
    """

    name: str
    write: str = ""
    size: int = 1
    bits: Bits = ()
    read_bits: Bits = ()
    write_bits: Bits = ()
    meaning: Callable[[int, str], str] | None = None

    def named(self, direction: str) -> str:
        """The name for a direction; both names if there is no direction."""
        if not self.write or direction == READ:
            return self.name
        return self.write if direction == WRITE else f"{self.name}/{self.write}"


def spelled(value: int, bits: Bits) -> str:
    """A value by its bits: "THRE|TEMT", with the bits of no field in hexadecimal; "" if none is set."""
    if not bits:
        return ""
    parts = []
    rest = value
    for bit in bits:
        rest &= ~bit.mask
        found = value & bit.mask
        match bit:
            case Bit() if found:
                parts.append(bit.name)
            case Field():
                number = found >> (bit.mask & -bit.mask).bit_length() - 1
                word = bit.words.get(number, f"{bit.name}={number:#x}") if bit.words is not None else ""
                if bit.words is None and number:
                    word = f"{bit.name}={number:#x}" if number > 9 else f"{bit.name}={number}"
                parts.append(word)
    if rest:
        parts.append(f"{rest:#x}")
    return "|".join(part for part in parts if part)


def character(value: int, direction: str) -> str:
    """A byte of text in quotes, control characters as escapes."""
    return repr(chr(value)) if value < 0x7F else ""
