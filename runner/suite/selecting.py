"""``-k EXPR``: names by parts of them, with ``and``, ``or``, ``not`` and parentheses."""

import re
from collections.abc import Callable

Selects = Callable[[str], bool]

WORDS = re.compile(r"\s*([()]|[^\s()]+)")
DEPTH = 100  # parentheses and nots within each other


class SelectError(Exception):
    """An expression that cannot be read."""


def parse(text: str) -> Selects:
    """The function that selects names. A word selects the names that contain it, in capitals or not. Raises
    SelectError."""
    words = WORDS.findall(text)
    selects, rest = _either(words, 0)
    if rest:
        raise SelectError(f"{text!r}: {rest[0]!r} comes after the end; join words with and, or, not")
    return selects


def _either(words: list[str], depth: int) -> tuple[Selects, list[str]]:
    one, words = _both(words, depth)
    if words[:1] != ["or"]:
        return one, words
    other, words = _either(words[1:], depth + 1)
    return lambda name: one(name) or other(name), words


def _both(words: list[str], depth: int) -> tuple[Selects, list[str]]:
    one, words = _single(words, depth)
    if words[:1] != ["and"]:
        return one, words
    other, words = _both(words[1:], depth + 1)
    return lambda name: one(name) and other(name), words


def _single(words: list[str], depth: int) -> tuple[Selects, list[str]]:
    if depth > DEPTH:
        raise SelectError("the expression is nested too deep")
    match words:
        case ["not", *rest]:
            one, rest = _single(rest, depth + 1)
            return lambda name: not one(name), rest
        case ["(", *rest]:
            one, rest = _either(rest, depth + 1)
            if rest[:1] != [")"]:
                raise SelectError("a closing parenthesis is missing")
            return one, rest[1:]
        case [word, *rest] if word not in ("and", "or", ")"):
            return lambda name: word.lower() in name.lower(), rest
    raise SelectError(f"a word is missing before {words[0]!r}" if words else "a word is missing at the end")
