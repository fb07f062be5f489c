"""The commands of a shell script, as words with their places. Variables that the script sets are replaced; nothing is
executed.

The standard library's shlex knows neither lines nor continued lines nor variables.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, NoReturn

from vmspec.exchange.tree import Place
from vmspec.host.pathtext import to_text
from vmspec.schema.problems import Problem, SpecError

NAME = r"[A-Za-z_][A-Za-z0-9_]*"
# What a script can have between words and in them (POSIX.1-2017, Shell Command Language, 2.2 and 2.6).
TOKEN = re.compile(
    rf"""(?P<joined>\\\r?\n)
    |(?P<blank>[ \t\r]+)
    |(?P<end>\n|;;?|&&?|\|[|&]?)
    |(?P<redirect>[0-9]*[<>][<>&|]*)
    |(?P<single>'[^']*')
    |(?P<quote>")
    |(?P<variable>\$\{{?(?P<name>{NAME})(?P<closed>\}}?))
    |(?P<computed>\$\([^()\n]*\)|`[^`\n]*`)
    |\\(?P<escaped>.)
    |(?P<plain>[^\s\\'"$`;&|<>]+|.)""",
    re.VERBOSE | re.DOTALL,
)
QUOTED = re.compile(
    rf"""(?P<end>")
    |(?P<joined>\\\r?\n)
    |(?P<variable>\$\{{?(?P<name>{NAME})(?P<closed>\}}?))
    |(?P<computed>\$\([^()\n]*\)|`[^`\n]*`)
    |\\(?P<escaped>[\\$`"])
    |(?P<plain>[^"\\$`]+|.)""",
    re.VERBOSE | re.DOTALL,
)


class Word(NamedTuple):
    """A word and its place. ``unknown`` is what only a shell could replace in it, such as ``$(nproc)``."""

    text: str
    place: Place = Place()
    unknown: str | None = None


Command = list[Word]


class _Open:
    """A word that is being read."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._pieces: list[str] = []
        self._unknown: str | None = None

    def add(self, piece: str, unknown: str | None = None) -> None:
        self._pieces.append(piece)
        self._unknown = self._unknown or unknown

    def word(self) -> Word:
        return Word("".join(self._pieces), self.place, self._unknown)


def arguments(words: list[str]) -> Command:
    """The words of a command line that a shell has already split."""
    return [Word(_text(word), Place(f"argument {number}")) for number, word in enumerate(words, 1)]


def _text(word: str) -> str:
    try:
        return to_text(word)
    except ValueError:  # a str that no system passes
        return word.encode("utf-8", "backslashreplace").decode()


def commands(text: str, file: Path | str | None) -> Iterator[Command]:
    """The commands of a script, without those that only set variables. Raises SpecError for a quote without an end."""
    variables: dict[str, str] = {}
    for rest in _Reader(text, None if file is None else str(file)).commands(variables):
        while rest and (found := re.match(rf"({NAME})=(.*)", rest[0].text, re.DOTALL)):
            variables[found[1]] = found[2]
            del rest[0]
        if rest:
            yield rest


class _Reader:
    def __init__(self, text: str, source: str | None) -> None:
        self.text = text
        self.source = source
        self.at = 0
        self._counted = (0, 1)  # an offset, and its line

    def commands(self, variables: Mapping[str, str]) -> Iterator[Command]:
        """Each command, with what it sets before it. ``variables`` may change between commands."""
        command: Command = []
        word: _Open | None = None
        redirected = False
        while (found := TOKEN.match(self.text, self.at)) is not None:
            start, self.at = self.at, found.end()
            if found["joined"]:
                continue
            if found["blank"] or found["end"] or found["redirect"]:
                if word is not None and not redirected:
                    command.append(word.word())
                redirected = bool(found["redirect"]) or (redirected and word is None)
                word = None
                if found["end"]:
                    yield command
                    command, redirected = [], False
                continue
            if word is None:
                if found[0].startswith("#"):
                    self.at = end if (end := self.text.find("\n", start)) >= 0 else len(self.text)
                    continue
                word = _Open(self._place(start))
            piece, unknown = self._piece(found, start, variables)
            # The words of a variable without quotes are words of the command.
            if found["variable"] and unknown is None and len(parts := piece.split()) > 1:
                word.add(parts[0])
                command.append(word.word())
                command += [Word(part, word.place) for part in parts[1:-1]]
                word, piece = _Open(word.place), parts[-1]
            word.add(piece, unknown)
        if word is not None and not redirected:
            command.append(word.word())
        yield command

    def _piece(self, found: re.Match[str], start: int, variables: Mapping[str, str]) -> tuple[str, str | None]:
        """The text of a part of a word, and what is not known of it."""
        if found["single"]:
            return found[0][1:-1], None
        if found["quote"]:
            return self._quoted(start, variables)
        if found["escaped"] is not None:
            return found["escaped"], None
        if found[0] == "'":
            self._unended(start)
        return _replaced(found, variables)

    def _quoted(self, start: int, variables: Mapping[str, str]) -> tuple[str, str | None]:
        pieces: list[str] = []
        unknown: str | None = None
        while True:
            if (found := QUOTED.match(self.text, self.at)) is None:
                self._unended(start)
            self.at = found.end()
            if found["end"]:
                return "".join(pieces), unknown
            if found["joined"]:
                continue
            if found["escaped"] is not None:
                pieces.append(found["escaped"])
                continue
            piece, missing = _replaced(found, variables)
            pieces.append(piece)
            unknown = unknown or missing

    def _unended(self, start: int) -> NoReturn:
        raise SpecError((Problem("", "a quote without an end").at(*self._place(start)),))

    def _place(self, offset: int) -> Place:
        known, line = self._counted
        line += self.text.count("\n", known, offset)
        self._counted = (offset, line)
        return Place(self.source, line, offset - self.text.rfind("\n", 0, offset))


def _replaced(found: re.Match[str], variables: Mapping[str, str]) -> tuple[str, str | None]:
    """A variable's value, or the text itself; and what is not known."""
    if found["computed"]:
        return found[0], found[0]
    if not found["variable"]:
        return found[0], None
    braced = found[0].startswith("${")
    if braced == bool(found["closed"]) and found["name"] in variables:
        return variables[found["name"]], None
    return found[0], found[0] + ("…" if braced and not found["closed"] else "")
