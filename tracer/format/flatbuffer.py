"""The few values read from an Arrow message's flatbuffer, each access checked (FlatBuffers, "Internals").

Arrow verifies its flatbuffers too. This reads what a message declares before anything is allocated for it.
"""

import struct

ENTRY = 4  # bytes of an offset, of a length


class OutsideError(Exception):
    """An access before the beginning or past the end of the bytes."""


class Flatbuffer:
    """A buffer with a flatbuffer; positions are offsets into ``data``. ``reach`` is the end of the bytes read so far.
    All methods raise OutsideError."""

    def __init__(self, data: bytes | memoryview) -> None:
        self.data = data
        self.reach = 0

    def number(self, at: int, code: str) -> int:
        """A number; ``code`` is a format of :mod:`struct`."""
        size = struct.calcsize("<" + code)
        self.within(at, size)
        return int(struct.unpack_from("<" + code, self.data, at)[0])

    def root(self) -> "Table":
        """The outermost table."""
        return self.table(0)

    def table(self, at: int) -> "Table":
        """The table at an offset."""
        return Table(self, at + self.number(at, "I"))

    def vector(self, at: int, width: int) -> tuple[int, int]:
        """Position and length of the vector at an offset, with elements of ``width`` bytes."""
        start = at + self.number(at, "I")
        count = self.number(start, "I")
        self.within(start + ENTRY, count * width)
        return start + ENTRY, count

    def text(self, at: int) -> slice:
        """Start and end of the string at an offset."""
        start, size = self.vector(at, 1) if at else (0, 0)
        return slice(start, start + size)

    def within(self, at: int, size: int) -> None:
        """Check that a range lies within the bytes."""
        if at < 0 or at + size > len(self.data):
            raise OutsideError
        self.reach = max(self.reach, at + size)


class Table:
    """A table: its fields, by number."""

    def __init__(self, of: Flatbuffer, at: int) -> None:
        self._of = of
        self._at = at
        self._fields_at = at - of.number(at, "i")
        size = of.number(self._fields_at, "H")
        of.within(self._fields_at, size)
        of.within(at, of.number(self._fields_at + 2, "H"))
        self._count = (size - ENTRY) // 2

    def place(self, field: int) -> int:
        """Position of a field; 0: it has its default."""
        if field >= self._count:
            return 0
        offset = self._of.number(self._fields_at + ENTRY + 2 * field, "H")
        return self._at + offset if offset else 0

    def number(self, field: int, code: str) -> int:
        """A number, 0 by default."""
        at = self.place(field)
        return self._of.number(at, code) if at else 0

    def table(self, field: int) -> "Table | None":
        """A table in a field."""
        at = self.place(field)
        return self._of.table(at) if at else None

    def structs(self, field: int, code: str) -> list[tuple[int, ...]]:
        """A vector of structs, each with the numbers that ``code`` describes."""
        size = struct.calcsize("<" + code)
        at = self.place(field)
        start, count = self._of.vector(at, size) if at else (0, 0)
        return list(struct.iter_unpack("<" + code, self._of.data[start : start + count * size]))

    def tables(self, field: int) -> list["Table"]:
        """A vector of tables."""
        at = self.place(field)
        start, count = self._of.vector(at, ENTRY) if at else (0, 0)
        return [self._of.table(start + ENTRY * index) for index in range(count)]

    def text(self, field: int) -> slice:
        """Start and end of a string."""
        return self._of.text(self.place(field))
