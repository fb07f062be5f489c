"""Paths as text, and back, without loss: the one encoding of them in TOML, JSON, Arrow and SQL, which are Unicode.

A path is bytes, and these need not be UTF-8. In text each byte that is not part of UTF-8 is a NUL, which no path has,
and two hexadecimal digits: caf\\xe9 is ``"caf\\u0000e9"`` in TOML and in JSON. A file's name is UTF-8 in a spec,
whatever the locale.
"""

import codecs
import os
import re
from pathlib import Path

_ESCAPE = re.compile(rb"\x00([89a-f][0-9a-f])")


def to_text(path: str | os.PathLike[str]) -> str:
    """The text of a path, or of an argument of the command line, as Python has it. Raises ValueError for a str that
    no system has given."""
    try:
        raw = os.fsencode(path)
    except UnicodeEncodeError:  # text of our caller's that the locale has no bytes for
        raw = os.fspath(path).encode("utf-8", "surrogateescape")
    return raw.decode("utf-8", "vmrun.path")


def from_text(text: str) -> Path:
    """The path that a text stands for. Raises ValueError for one that is no path's."""
    raw = _ESCAPE.sub(lambda found: bytes.fromhex(found[1].decode()), text.encode())
    if b"\0" in raw:
        raise ValueError("holds a NUL character")
    return Path(os.fsdecode(raw))


def _escaped(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "".join(f"\0{byte:02x}" for byte in error.object[error.start : error.end]), error.end


codecs.register_error("vmrun.path", _escaped)
