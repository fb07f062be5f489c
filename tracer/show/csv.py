"""CSV with a header line: names for codes, ``payload`` in hexadecimal, all other numbers decimal, times in ns.

A text that a spreadsheet would run as a formula gets an apostrophe in front; other formats keep it as it is.
"""

from collections.abc import Iterable
from typing import Any, BinaryIO

# The first characters of a formula (OWASP, "CSV Injection"); a lone "-" means no device.
FORMULA = r"^(?s:[=+@\t\r\n\x{ff1d}\x{ff0b}\x{ff0d}\x{ff20}]|-.)"


def marked(column: Any) -> Any:
    """A column of text with an apostrophe before texts that a spreadsheet would run; any other column as it is."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return column
    apostrophe, nothing = pa.scalar("'", column.type), pa.scalar("", column.type)
    runs = pc.match_substring_regex(column, FORMULA)
    return pc.if_else(runs, pc.binary_join_element_wise(apostrophe, column, nothing), column)


def write(schema: Any, batches: Iterable[Any], out: BinaryIO) -> int:
    """Write a trace's batches; return the number of rows."""
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
        return pa.DictionaryArray.from_arrays(column.indices, marked(column.dictionary)).cast(pa.utf8())
    if not pa.types.is_binary(column.type):
        return column
    if not pc.any(pc.greater(pc.binary_length(column), 0)).as_py():
        return column.cast(pa.utf8())  # all of them empty, as in most batches
    return pa.array([value.hex() for value in column.to_pylist()], pa.utf8())
