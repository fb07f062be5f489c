"""Commands of the host's that a replay repeats: what their words in the table of inputs ask of a device's model."""

from typing import NamedTuple

from vmspec.trace.inputs import BREAK, POWER_BUTTON, SIZE, SYSRQ


class Asked(NamedTuple):
    """A method of the model's, and its arguments."""

    method: str
    arguments: tuple[str | int, ...] = ()


def asked(words: str) -> Asked | None:
    """What these words ask; None if no command has them."""
    if words == POWER_BUTTON:
        return Asked("press_power_button")
    if words == BREAK:
        return Asked("line_break")
    if words[:-1] == SYSRQ and is_key(words[-1]):
        return Asked("sysrq", (words[-1],))
    if words.startswith(SIZE):
        numbers = words.removeprefix(SIZE).split("x")
        if len(numbers) == 2 and all(number.isascii() and number.isdecimal() and len(number) < 6 for number in numbers):
            return Asked("resized", tuple(map(int, numbers)))
    return None


def is_key(text: str) -> bool:
    """Whether it is a key of a magic SysRq: one printable character of ASCII."""
    return len(text) == 1 and "!" <= text <= "~"
