"""The few things that are read of an Arrow message's flatbuffer, each access checked (FlatBuffers, "Internals").

Arrow verifies its flatbuffers too; what is needed here is what a message declares, before anything is allocated for it.
"""

import struct

ENTRY = 4  # bytes of an offset, of a length


class OutsideError(Exception):
    """An access past the end of the bytes that are there, or before their beginning."""


class Flatbuffer:
    """Bytes that hold one; positions are offsets into ``data``. ``reach`` is the end of what was read so far. All
    methods raise OutsideError."""

    def __init__(self, data: bytes | memoryview) -> None:
        self.data = data
        self.reach = 0

    def number(self, at: int, code: str) -> int:
        """A number; ``code`` is the one of :mod:`struct`."""
        size = struct.calcsize("<" + code)
        self.within(at, size)
        return int(struct.unpack_from("<" + code, self.data, at)[0])

    def root(self) -> "Table":
        """The outermost table."""
        return self.table(0)

    def table(self, at: int) -> "Table":
        """The table that an offset leads to."""
        return Table(self, at + self.number(at, "I"))

    def vector(self, at: int, width: int) -> tuple[int, int]:
        """Position and number of a vector's elements of ``width`` bytes; an offset leads to it."""
        start = at + self.number(at, "I")
        count = self.number(start, "I")
        self.within(start + ENTRY, count * width)
        return start + ENTRY, count

    def text(self, at: int) -> slice:
        """Where the bytes of a string stand; an offset leads to it."""
        start, size = self.vector(at, 1) if at else (0, 0)
        return slice(start, start + size)

    def within(self, at: int, size: int) -> None:
        """Check that bytes are there."""
        if at < 0 or at + size > len(self.data):
            raise OutsideError
        self.reach = max(self.reach, at + size)


class Table:
    """A table: its fields, by number, wherever they stand."""

    def __init__(self, of: Flatbuffer, at: int) -> None:
        self._of = of
        self._at = at
        self._fields_at = at - of.number(at, "i")
        size = of.number(self._fields_at, "H")
        of.within(self._fields_at, size)
        of.within(at, of.number(self._fields_at + 2, "H"))
        self._count = (size - ENTRY) // 2

    def place(self, field: int) -> int:
        """Where a field stands; 0: it has its default."""
        if field >= self._count:
            return 0
        offset = self._of.number(self._fields_at + ENTRY + 2 * field, "H")
        return self._at + offset if offset else 0

    def number(self, field: int, code: str) -> int:
        """A number, 0 by default."""
        at = self.place(field)
        return self._of.number(at, code) if at else 0

    def table(self, field: int) -> "Table | None":
        """A table within."""
        at = self.place(field)
        return self._of.table(at) if at else None

    def structs(self, field: int, code: str) -> list[tuple[int, ...]]:
        """A vector of structs, each the numbers that ``code`` says."""
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
        """Where the bytes of a string stand."""
        return self._of.text(self.place(field))
