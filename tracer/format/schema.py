"""The Arrow schema of a table and the names behind its codes, from its definition in :mod:`vmspec.trace.tables`."""

import json
from array import array
from collections.abc import Mapping
from functools import cache, lru_cache
from itertools import accumulate
from typing import Any

from vmspec.trace import keys
from vmspec.trace.record import FLAGS
from vmspec.trace.table import Column, Table
from vmspec.trace.tables import TABLES

# Key of the schema's metadata. The runner adds vmrun.spec, vmrun.images, vmrun.host, vmrun.overrides and others.
# Key of the custom metadata of the last record batch, which has no rows.

# struct/memoryview format and width in bytes of a column's values, by its type: codes for names, offsets for bytes.
STORED = {
    "int8": ("b", 1),
    "int16": ("h", 2),
    "uint8": ("B", 1),
    "uint16": ("H", 2),
    "uint32": ("I", 4),
    "uint64": ("Q", 8),
    "int64": ("q", 8),
    "binary": ("i", 4),
}


def column_type(column: Column) -> Any:
    """The pyarrow type of a column."""
    import pyarrow as pa

    type_ = pa.type_for_alias(column.type)
    return type_ if column.names is None else pa.dictionary(type_, pa.utf8())


def schema_of(table: Table, metadata: Mapping[str, str]) -> Any:
    """The ``pyarrow.Schema`` of a table: no nulls; units and meanings in the fields' metadata."""
    return _columns(table.format).with_metadata({**metadata, keys.FORMAT: table.format})


@cache
def _columns(version: str) -> Any:
    """The schema of a table without metadata; it costs half a millisecond, as much as a short run's rows."""
    import pyarrow as pa

    table = _table(version)
    return pa.schema(
        pa.field(c.name, column_type(c), nullable=False, metadata={"unit": c.unit, "doc": c.doc}) for c in table.columns
    )


def _table(version: str) -> Table:
    return next(table for table in TABLES.values() if table.format == version)


def table_of(schema: Any) -> Table:
    """The definition of the table whose schema this is, from :func:`schema_of` or a reader."""
    return _table(schema.metadata[keys.FORMAT.encode()].decode())


def names_of(table: Table, metadata: Mapping[str, str]) -> dict[str, Any]:
    """The names behind the codes, one ``pyarrow.Array`` for each column of names."""
    return {
        column.name: texts((*column.names.fixed, *(json.loads(metadata[column.names.key]) if column.names.key else ())))
        for column in table.columns
        if column.names is not None
    }


def schema_names(schema: Any) -> dict[str, Any]:
    """The same, for a schema with the names in its metadata."""
    return names_of(table_of(schema), {key.decode(): value.decode() for key, value in schema.metadata.items()})


def zeros(field: Any, rows: int, names: Any = None) -> Any:
    """A column of zeros, of the first of ``names``, or of no bytes."""
    import pyarrow as pa

    def empty(bits: int) -> Any:
        return pa.py_buffer(bytes(bits // 8 * rows))

    if names is not None:
        return pa.DictionaryArray.from_buffers(field.type, rows, [None, empty(field.type.index_type.bit_width)], names)
    if pa.types.is_binary(field.type):
        return pa.Array.from_buffers(field.type, rows, [None, pa.py_buffer(bytes(4 * (rows + 1))), pa.py_buffer(b"")])
    return pa.Array.from_buffers(field.type, rows, [None, empty(field.type.bit_width)])


def flag_names(flags: int) -> list[str]:
    """The bits of the column ``flags`` by name."""
    return [name for name, bit in FLAGS.items() if flags & bit]


@lru_cache(maxsize=64)
def texts(words: tuple[str, ...]) -> Any:
    """A utf8 array. ``pyarrow.array`` would import pandas if it is installed: 50 MB."""
    import pyarrow as pa

    encoded = [text.encode() for text in words]
    offsets = array("i", accumulate(map(len, encoded), initial=0))
    return pa.Array.from_buffers(
        pa.utf8(), len(words), [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(b"".join(encoded))]
    )
