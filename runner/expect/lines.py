"""A stream of bytes as lines."""

from collections.abc import Iterator

LONGEST = 16 << 10  # bytes of a line that count: a guest may never end it


class Lines:
    """Cuts a stream into lines of text. Carriage returns are left out, and what follows the first 16 KiB of a line."""

    def __init__(self) -> None:
        self._begun = bytearray()

    def feed(self, data: bytes) -> Iterator[str]:
        """The lines that end in the next bytes of the stream."""
        first, *rest = data.split(b"\n")
        self._add(first)
        for piece in rest:
            yield self._line()
            self._add(piece)

    def last(self) -> Iterator[str]:
        """The line that the end of the stream ends, if there is one."""
        if self._begun:
            yield self._line()

    def _add(self, piece: bytes) -> None:
        self._begun += piece.replace(b"\r", b"")[: LONGEST - len(self._begun)]

    def _line(self) -> str:
        line = self._begun.decode("utf-8", "replace")
        self._begun.clear()
        return line
