"""Paths as text and back, without loss: the encoding of paths in TOML, JSON, Arrow and SQL, which are Unicode.

A path is bytes, which need not be UTF-8. In text, each byte that is not part of UTF-8 is a NUL, which no path has, and
two hexadecimal digits: caf\xe9 is ``"caf\u0000e9"`` in TOML and in JSON. A file's name is UTF-8 in a spec, in any
locale.
"""

import codecs
import os
import re
from pathlib import Path

_ESCAPE = re.compile(rb"\x00([89a-f][0-9a-f])")


def to_text(path: str | os.PathLike[str]) -> str:
    """The text of a path, or of a command line argument, in Python's form. Raises ValueError for a str that no system
    returns."""
    try:
        raw = os.fsencode(path)
    except UnicodeEncodeError:  # a caller's text that the locale cannot encode
        raw = os.fspath(path).encode("utf-8", "surrogateescape")
    return raw.decode("utf-8", "vmrun.path")


def from_text(text: str) -> Path:
    """The path that a text represents. Raises ValueError for a text that represents none."""
    raw = _ESCAPE.sub(lambda found: bytes.fromhex(found[1].decode()), text.encode())
    if b"\0" in raw:
        raise ValueError("holds a NUL character")
    return Path(os.fsdecode(raw))


def _escaped(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "".join(f"\0{byte:02x}" for byte in error.object[error.start : error.end]), error.end


codecs.register_error("vmrun.path", _escaped)
