"""The regular expressions of ``patterns`` and ``forbidden``, compared with each line of the console."""

from collections.abc import Iterator, Sequence

from runner.expect.unmet import SHOWN, Unmet
from vmspec.schema.regex import compiled

LOOK = "vmtrace console"


class Patterns:
    """Follows lines. Each of ``wanted`` must match a line, in any order; none of ``forbidden`` may match one."""

    def __init__(self, wanted: Sequence[str], forbidden: Sequence[str]) -> None:
        self._wanted, self._forbidden = wanted, forbidden
        self._missing = {number: compiled(pattern) for number, pattern in enumerate(wanted)}
        self._unseen = {number: compiled(pattern) for number, pattern in enumerate(forbidden)}
        self._seen: dict[int, str] = {}  # the first line that each forbidden pattern matched

    def line(self, line: str) -> None:
        """The next line of the console."""
        for number in [number for number, pattern in self._missing.items() if pattern.search(line)]:
            del self._missing[number]
        for number in [number for number, pattern in self._unseen.items() if pattern.search(line)]:
            del self._unseen[number]
            self._seen[number] = line[:SHOWN]

    def unmet(self) -> Iterator[Unmet]:
        """The patterns that the lines so far have not met."""
        for number in self._missing:
            expected = f"a line that matches {self._wanted[number]!r} on the console"
            yield Unmet(f"expect.patterns[{number}]", expected, "no line matches it", LOOK)
        for number, line in sorted(self._seen.items()):
            expected = f"no line that matches {self._forbidden[number]!r} on the console"
            yield Unmet(f"expect.forbidden[{number}]", expected, f"the console printed {line!r}", LOOK)
