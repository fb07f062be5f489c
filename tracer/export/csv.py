"""CSV with a head line: names for codes, ``payload`` in hexadecimal, all other numbers decimal, times in ns."""

from collections.abc import Iterable
from typing import Any, BinaryIO


def write(schema: Any, batches: Iterable[Any], out: BinaryIO) -> int:
    """Write a trace's batches; returns the rows."""
    import pyarrow as pa
    import pyarrow.csv

    plain = pa.schema([pa.field(field.name, _type(field.type)) for field in schema])
    rows = 0
    with pyarrow.csv.CSVWriter(out, plain) as writer:
        for batch in batches:
            columns = [_plain(column) for column in batch.columns]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=plain))
            rows += batch.num_rows
    return rows


def _type(type_: Any) -> Any:
    import pyarrow as pa

    return pa.utf8() if pa.types.is_dictionary(type_) or pa.types.is_binary(type_) else type_


def _plain(column: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(column.type):
        return column.cast(pa.utf8())
    if not pa.types.is_binary(column.type):
        return column
    if not pc.any(pc.greater(pc.binary_length(column), 0)).as_py():
        return column.cast(pa.utf8())  # all of them empty, as most batches' are
    return pa.array([value.hex() for value in column.to_pylist()], pa.utf8())
