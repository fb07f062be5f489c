"""Mutated specs."""

import random
import tomllib
from pathlib import Path
from typing import Any

import tomli_w

from tests.mutated import bytesmutation, oddities
from tests.mutated.watch import statuses

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").rglob("*.toml"))
PIECES = ["[", "]", "[[", "{", "}", "=", '"', "'", '"""', "#", "\n", "\\", ",", ".", "\0", "é", "-1", "nan", "1e999"]
PIECES += ["[vm]", "[[device]]", "kind = 'serial'", "0x" + "f" * 20, "1979-05-27", "9" * 5000, "\ufeff", "true", "{}"]
PIECES += ["0x" + "f" * 9999, "[" * 40, "a" + ".a" * 40_000, "{a=" * 40, "[[device]]\n" * 3000, "x=1\n" * 50, "\\u0041"]
PIECES += ["".join(f"k{number}=1\n" for number in range(3000)), "[" + "1," * 20_000 + "]", "'" + "a" * 50_000 + "'"]


class Specs:
    """The examples, and mutations of them."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "x.toml"
        self.texts = [path.read_text() for path in EXAMPLES]

    def mutate(self, rng: random.Random) -> str:
        """Write a mutated spec; returns what was done."""
        text = rng.choice(self.texts)
        match rng.randrange(4):
            case 0:
                self.path.write_bytes(bytesmutation.mutated(rng, text.encode()))
                return "bytes"
            case 1:
                data = oddities.changed(rng, _plain(tomllib.loads(text)))
                if isinstance(data, dict):
                    self.path.write_text(tomli_w.dumps(_toml(data)), errors="replace")
                    return "values"
        for _ in range(rng.randint(1, 6)):
            start = rng.randrange(len(text) + 1)
            end = min(len(text), start + rng.choice((0, 1, 1, 3, 20)))
            piece = rng.choice((rng.choice(PIECES), "", text[end : end + 30], chr(rng.randrange(0xD800))))
            text = text[:start] + piece + text[end:]
        self.path.write_text(text)
        return "text"

    def check(self, rng: random.Random) -> None:
        """Check, show or plan it."""
        command = rng.choice((["check"], ["check"], ["show"], ["plan"], ["plan", "--json"]))
        status, _, err = statuses("vmspec", [*command, str(self.path)])
        assert status in (0, 2), f"status {status}"
        if status == 2:
            assert err.startswith(str(self.path)), err[:500]


def _plain(value: Any) -> Any:
    """What JSON can hold of a document."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float) else str(value)


def _toml(value: Any) -> Any:
    """What TOML can hold of a value of JSON."""
    if isinstance(value, dict):
        return {key.encode(errors="replace").decode(): _toml(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_toml(item) for item in value]
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 10**200:
        return 10**200
    return "" if value is None else value
