"""The texts of ``console`` and ``absent``, looked for while the console is printed."""

from collections.abc import Iterator, Sequence

from runner.expect.unmet import SHOWN, Unmet

LOOK = "vmtrace console"
REACH = 4096  # bytes at the end of the console in which its last line is looked for


class Watch:
    """Follows a stream and reports which expected texts have come, in their order, and which rejected ones.

    Carriage returns are ignored on both sides, so that a text may span lines.
    """

    def __init__(self, console: Sequence[str], absent: Sequence[str]) -> None:
        self._wanted = [text.encode().replace(b"\r", b"") for text in console]
        self._unwanted = [text.encode().replace(b"\r", b"") for text in absent]
        self._found = 0
        self._seen: set[int] = set()
        self._rest = b""  # the part of the stream in which an expected text may begin
        self._tail = b""  # the same for the rejected ones
        self._reach = max((len(text) for text in self._unwanted), default=1) - 1

    def feed(self, data: bytes) -> None:
        """The next bytes of the stream."""
        data = data.replace(b"\r", b"")
        rest = self._rest + data
        while self._found < len(self._wanted):
            text = self._wanted[self._found]
            at = rest.find(text)
            if at < 0:
                rest = rest[max(0, len(rest) - len(text) + 1) :]
                break
            rest = rest[at + len(text) :]
            self._found += 1
        self._rest = rest if self._found < len(self._wanted) else b""
        tail = self._tail + data
        self._seen |= {number for number, text in enumerate(self._unwanted) if text and text in tail}
        self._tail = tail[max(0, len(tail) - self._reach) :]

    def missing(self) -> list[str]:
        """The expected texts that have not come."""
        return [text.decode() for text in self._wanted[self._found :]]

    def unwanted(self) -> list[str]:
        """The rejected texts that have come."""
        return [self._unwanted[number].decode() for number in sorted(self._seen)]

    def unmet(self, console: bytes) -> Iterator[Unmet]:
        """The expectations that the stream has not met: the first text that is missing, and each rejected one.
        ``console`` is the end of the stream."""
        if missing := self.missing():
            after = f" after {self._wanted[self._found - 1].decode()!r}" if self._found else ""
            more = f" (and then {len(missing) - 1} more)" if len(missing) > 1 else ""
            expected = f"{missing[0]!r} on the console{after}{more}"
            yield Unmet(f"expect.console[{self._found}]", expected, _came(console), LOOK)
        for number in sorted(self._seen):
            text = self._unwanted[number].decode()
            yield Unmet(f"expect.absent[{number}]", f"no {text!r} on the console", "the console printed it", LOOK)


def _came(console: bytes) -> str:
    """Why a text is missing, with the last line of the console."""
    lines = console[-REACH:].decode("utf-8", "replace").replace("\r", "").rstrip().splitlines()
    return f"it never came, and the last line is {lines[-1][-SHOWN:]!r}" if lines else "the console printed nothing"
