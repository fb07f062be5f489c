"""Odd values of JSON and of TOML in place of those that a reader expects."""

import json
import random
from typing import Any

NAMES = ("", "-", "0", "rows", "stats", "start", "end", "exits", "\x1b[31m", "é" * 99, "a" * 5000, "\ud800", "serial0")
NUMBERS = (0, 1, -1, 2**31, 2**53 + 1, 2**62, 2**63, -(2**63), 2**64, 10**30, 10**400, 0.5, -0.0, 1e308, float("inf"),
           float("-inf"), float("nan"))  # fmt: skip


def odd(rng: random.Random, depth: int = 0) -> Any:
    """Any value."""
    match rng.randrange(9 if depth < 3 else 5):
        case 0:
            return rng.choice((None, True, False))
        case 1 | 2:
            return rng.choice(NUMBERS)
        case 3 | 4:
            return rng.choice(NAMES)
        case 5 | 6:
            return [odd(rng, depth + 1) for _ in range(rng.choice((0, 1, 1, 2, 3, 40)))]
        case _:
            return {rng.choice(NAMES): odd(rng, depth + 1) for _ in range(rng.choice((0, 1, 2, 3)))}


def changed(rng: random.Random, value: Any) -> Any:
    """The value with one to three of those in it replaced, left out, or put into an array."""
    value = json.loads(json.dumps(value))
    for _ in range(rng.choice((1, 1, 2, 3))):
        value = _changed(rng, value)
    return value


def _changed(rng: random.Random, value: Any) -> Any:
    if isinstance(value, dict | list) and value and rng.random() < 0.85:
        where = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
        if rng.random() < 0.15:
            del value[where]
        else:
            value[where] = _changed(rng, value[where])
        return value
    match rng.randrange(6):
        case 0:
            return [value]
        case 1 if isinstance(value, list):
            return [*value, *value, odd(rng)]
        case 2 if isinstance(value, int | float):
            return -value
    return odd(rng)


def text(rng: random.Random, value: Any) -> str:
    """A changed value as JSON, or what is nearly that."""
    written = json.dumps(changed(rng, value), ensure_ascii=rng.random() < 0.5)
    match rng.randrange(12):
        case 0:
            return written[: rng.randrange(len(written) + 1)]
        case 1:
            return "[" * 100_000
        case 2:
            return rng.choice(("", "null", "{}", "[]", "nan", "1" * 5000, '"'))
    return written
