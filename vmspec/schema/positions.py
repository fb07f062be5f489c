"""The place of each key and value of a TOML document.

tomllib reports no positions, so this walks the text again, but only to locate a problem. It takes a document that
tomllib has accepted: it finds the same keys, and checks nothing.
"""

import re
from typing import NamedTuple

from vmspec.schema.keypath import KeyPath

_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BLANK = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:[^"\\]+|\\.|"(?!""))*""""{0,2}'  # up to two quotes of the text may precede the closing three
    r"|'''(?:[^']+|'(?!''))*''''{0,2}"
    r'|"(?:[^"\\]|\\.)*"'
    r"|'[^']*'",
    re.DOTALL,
)
# Numbers, booleans, dates (one blank is allowed between date and time).
_SCALAR = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[^\s,\]}#]*|[^\s,\]}#]+")


class Place(NamedTuple):
    """Offsets in the text of a key and of its value. They are the same for an element of an array, which has no key,
    and for a table with its own header, which has no value."""

    key: int
    value: int


def find(text: str) -> dict[KeyPath, Place]:
    """The places of all keys, tables and array elements of a valid document, by path."""
    scanner = _Scanner(text)
    try:
        scanner.document()
    except RecursionError:
        # Arrays nested nearly as deep as tomllib can follow: only places outside them are found.
        pass
    return scanner.places


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.places: dict[KeyPath, Place] = {}
        self.elements: dict[KeyPath, int] = {}  # arrays of tables: number of their last element

    def document(self) -> None:
        table: KeyPath = ()
        self.skip(_SPACE)
        while self.at < len(self.text):
            if self.text.startswith("[", self.at):
                table = self.header()
            else:
                self.pair(table)
            self.skip(_SPACE)

    def header(self) -> KeyPath:
        """``[table]`` or ``[[array of tables]]``: the path of the table that begins."""
        array = self.text.startswith("[[", self.at)
        self.at += 2 if array else 1
        parts = self.key()
        self.at += 2 if array else 1
        path: KeyPath = ()
        for number, (name, start) in enumerate(parts, 1):
            path = (*path, name)
            self.places.setdefault(path, Place(start, start))
            if array and number == len(parts):
                self.elements[path] = self.elements.get(path, -1) + 1
            elif path not in self.elements:
                continue
            path = (*path, self.elements[path])
            self.places.setdefault(path, Place(start, start))
        # A table that a table within it has named before gets its own header's place.
        if not array:
            self.places[path] = Place(parts[-1][1], parts[-1][1])
        return path

    def pair(self, table: KeyPath) -> None:
        """``key = value``, the key dotted or not."""
        parts = self.key()
        self.at += 1
        self.skip(_BLANK)
        path = table
        for name, start in parts[:-1]:
            path = (*path, name)
            self.places.setdefault(path, Place(start, start))
        name, start = parts[-1]
        self.value((*path, name), start)

    def key(self) -> list[tuple[str, int]]:
        """The parts of a key with their offsets; afterwards the position is before ``=`` or ``]``."""
        parts = []
        while True:
            self.skip(_BLANK)
            start = self.at
            if self.text[start] in "\"'":
                self.skip(_STRING)
                name = _unquote(self.text[start : self.at])
            else:
                self.skip(_BARE_KEY)
                name = self.text[start : self.at]
            parts.append((name, start))
            self.skip(_BLANK)
            if not self.text.startswith(".", self.at):
                return parts
            self.at += 1

    def value(self, path: KeyPath, key: int) -> None:
        self.places[path] = Place(key, self.at)
        match self.text[self.at]:
            case '"' | "'":
                self.skip(_STRING)
            case "[":
                self.at += 1
                self.skip(_SPACE)
                number = 0
                while self.text[self.at] != "]":
                    self.value((*path, number), self.at)
                    number += 1
                    self.separator()
                self.at += 1
            case "{":
                self.at += 1
                self.skip(_SPACE)
                while self.text[self.at] != "}":
                    self.pair(path)
                    self.separator()
                self.at += 1
            case _:
                self.skip(_SCALAR)

    def separator(self) -> None:
        self.skip(_SPACE)
        if self.text[self.at] == ",":
            self.at += 1
            self.skip(_SPACE)

    def skip(self, pattern: re.Pattern[str]) -> None:
        found = pattern.match(self.text, self.at)
        assert found is not None, "the document is valid"
        self.at = found.end()


def _unquote(literal: str) -> str:
    if literal[0] == "'" or "\\" not in literal:
        return literal[1:-1]
    import tomllib  # escapes in a key are rare

    name: str = tomllib.loads(f"key = {literal}")["key"]
    return name
