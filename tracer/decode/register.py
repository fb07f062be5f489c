"""Registers as their data sheets describe them: a name for each direction, and what the bits of a value say."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple


class Bit(NamedTuple):
    """One bit, shown by its name where it is set."""

    mask: int
    name: str


class Field(NamedTuple):
    """Neighbouring bits that are a number: shown as "name=3", or as the word that stands for the number."""

    mask: int
    name: str
    words: Mapping[int, str] | None = None


Bits = Sequence[Bit | Field]
READ, WRITE = "read", "write"


class Register(NamedTuple):
    """One register. ``write`` is its name when written, where that differs; ``size`` its bytes.

    ``bits`` say what a value means in both directions, ``read_bits`` and ``write_bits`` in one; ``meaning`` does where
    bits do not suffice.
    """

    name: str
    write: str = ""
    size: int = 1
    bits: Bits = ()
    read_bits: Bits = ()
    write_bits: Bits = ()
    meaning: Callable[[int, str], str] | None = None

    def named(self, direction: str) -> str:
        """The name in a direction; both where it is neither read nor write."""
        if not self.write or direction == READ:
            return self.name
        return self.write if direction == WRITE else f"{self.name}/{self.write}"

    def means(self, value: int, direction: str) -> str:
        """What a value says, "" where nothing more than the number."""
        if self.meaning is not None:
            return self.meaning(value, direction)
        return spelled(value, (self.read_bits if direction == READ else self.write_bits) or self.bits)


def spelled(value: int, bits: Bits) -> str:
    """A value by its bits: "THRE|TEMT", what no field covers in hexadecimal; "" where nothing is set."""
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
    """A byte of text in quotes, its control characters by their escapes."""
    return repr(chr(value)) if value < 0x7F else ""
