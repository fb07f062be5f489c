"""The resolved spec as TOML."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vmspec.spec.models import Spec


def dumps(spec: "Spec", *, ascii: bool = False) -> str:
    """The spec with its defaults and absolute paths, as TOML that reads back to an equal spec; see :func:`toml`."""
    from vmspec.schema.tables import write_model

    return toml(write_model(spec), ascii=ascii)


def toml(table: Mapping[str, Any], *, ascii: bool = False) -> str:
    """A TOML table of a spec as text.

    Characters that could act on a terminal are escaped; with ``ascii``, all that are not ASCII.
    """
    import tomli_w  # only showing needs it

    text = tomli_w.dumps({name: value for name, value in table.items() if name != "device"})
    for device in table.get("device", []):
        # tomli_w would write short tables of an array in one line each. People write devices with a header each. Tables
        # within, such as [device.options], belong to the element before them.
        text += "\n[" + tomli_w.dumps({"device": device}).replace("[device]", "[device]]", 1)
    return "\n".join(_escaped(line, ascii) for line in text.split("\n"))


def _escaped(line: str, ascii: bool) -> str:
    """A line of TOML with escapes. Only strings contain other characters than ASCII, and in strings escapes mean the
    same."""
    if line.isascii() if ascii else line.isprintable():
        return line
    return "".join(char if char.isascii() or (char.isprintable() and not ascii) else _escape(char) for char in line)


def _escape(char: str) -> str:
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"
