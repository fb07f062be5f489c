"""Column buffers between the rings and Arrow: filled by C without Python per row, wrapped without a copy."""

from collections.abc import Mapping
from typing import Any

from tracer.format.schema import STORED, column_type
from vmspec.trace.record import COLUMNS

ROWS = 16384
PAYLOAD = 1 << 20  # bytes; one exit moves at most the 4096 bytes of KVM's I/O data page


class Buffers:
    """Room for ``rows`` rows, one writable buffer per column.

    ``columns[name]`` holds ``rows`` little-endian values of the column's width. ``reason`` and ``direction`` hold int8
    codes, ``device`` int16 codes, which are the record's device + 1. ``columns["payload"]`` holds ``rows + 1`` int32
    offsets into ``payload``, the first of them 0; a row without payload repeats the offset before it.
    """

    def __init__(self, rows: int = ROWS, payload_capacity: int = PAYLOAD) -> None:
        self.rows = rows
        self.payload_capacity = payload_capacity
        self.payload = bytearray(payload_capacity)
        self.columns = {
            column.name: bytearray((rows + (column.type == "binary")) * STORED[column.type][1]) for column in COLUMNS
        }

    def full(self, rows: int) -> bool:
        """Whether a drain that gave ``rows`` rows may have stopped for want of room, so that more is waiting."""
        used = int.from_bytes(self.columns["payload"][4 * rows : 4 * rows + 4], "little")
        return rows == self.rows or used > self.payload_capacity // 2

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
    for column in COLUMNS:
        width = STORED[column.type][1]
        values = pa.py_buffer(memoryview(columns[column.name])[: (rows + (column.type == "binary")) * width])
        kind = column_type(column.type)
        if column.name in names:
            arrays.append(pa.DictionaryArray.from_buffers(kind, rows, [None, values], names[column.name]))
        elif column.type == "binary":
            arrays.append(pa.Array.from_buffers(kind, rows, [None, values, pa.py_buffer(payload)]))
        else:
            arrays.append(pa.Array.from_buffers(kind, rows, [None, values]))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
