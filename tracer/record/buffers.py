"""Column buffers between the rings and Arrow: C fills them without Python per row, Arrow wraps them without a copy."""

import struct
from collections.abc import Mapping
from typing import Any

from tracer.format.schema import STORED
from vmspec.trace.table import Table

ROWS = 16384
PAYLOAD = 1 << 20  # bytes; one exit moves at most the 4096 bytes of KVM's I/O data page


class Buffers:
    """Room for ``rows`` rows of a table, one writable buffer per column.

    ``columns[name]`` holds ``rows`` little-endian values of the column's type; codes for names. A column of bytes holds
    ``rows + 1`` int32 offsets into ``payload``, the first of them 0; a row without bytes repeats the offset before it.
    """

    def __init__(self, table: Table, rows: int = ROWS, payload_capacity: int = PAYLOAD) -> None:
        self.rows = rows
        self._stored = {column.name: STORED[column.type] for column in table.columns}
        self._offsets = next((column.name for column in table.columns if column.type == "binary"), None)
        self.payload_capacity = payload_capacity if self._offsets is not None else 0
        self.payload = bytearray(self.payload_capacity)
        self.columns = {
            column.name: bytearray((rows + (column.type == "binary")) * STORED[column.type][1])
            for column in table.columns
        }

    def put(self, row: int, values: Mapping[str, int | bytes]) -> None:
        """Set a row from Python, after all rows before it; codes for names. Missing values are zero, or empty."""
        for name, value in values.items():
            if isinstance(value, bytes):
                start = self._used(row)
                self.payload[start : start + len(value)] = value
            else:
                format_, width = self._stored[name]
                struct.pack_into(format_, self.columns[name], row * width, value)
        if self._offsets is not None:
            moved = values.get(self._offsets, b"")
            assert isinstance(moved, bytes)
            struct.pack_into("<i", self.columns[self._offsets], 4 * (row + 1), self._used(row) + len(moved))

    def _used(self, rows: int) -> int:
        """The payload bytes that the first rows use."""
        assert self._offsets is not None
        return int.from_bytes(self.columns[self._offsets][4 * rows : 4 * rows + 4], "little")

    def full(self, rows: int) -> bool:
        """Whether a drain that returned ``rows`` rows may have stopped for lack of room, with more waiting."""
        if rows == self.rows or self._offsets is None:
            return rows == self.rows
        return self._used(rows) > self.payload_capacity // 2

    def batch(self, rows: int, schema: Any, names: Mapping[str, Any]) -> Any:
        """The first ``rows`` rows as a ``pyarrow.RecordBatch`` that shares the buffers' memory."""
        return wrap(rows, self.columns, self.payload, schema, names)


def wrap(
    rows: int,
    columns: Mapping[str, bytes | bytearray],
    payload: bytes | bytearray,
    schema: Any,
    names: Mapping[str, Any],
) -> Any:
    """A record batch over column buffers laid out as in :class:`Buffers`; ``names`` are the dictionaries."""
    import pyarrow as pa

    arrays = []
    for field in schema:
        values = columns[field.name]
        if pa.types.is_dictionary(field.type):
            buffers = [None, _first(values, rows, field.type.index_type.bit_width)]
            arrays.append(pa.DictionaryArray.from_buffers(field.type, rows, buffers, names[field.name]))
        elif pa.types.is_binary(field.type):
            arrays.append(
                pa.Array.from_buffers(field.type, rows, [None, _first(values, rows + 1, 32), pa.py_buffer(payload)])
            )
        else:
            arrays.append(pa.Array.from_buffers(field.type, rows, [None, _first(values, rows, field.type.bit_width)]))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _first(values: bytes | bytearray, count: int, bits: int) -> Any:
    """The first values of a buffer, with that many bits each, without a copy."""
    import pyarrow as pa

    return pa.py_buffer(memoryview(values)[: count * bits // 8])
