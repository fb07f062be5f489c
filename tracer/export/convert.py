"""Converts a table of a trace between file formats: finished file, stream, Parquet, and CSV for readers of nothing
better.

Files, streams and Parquet hold all of a table, so each can be made from each. CSV has only the rows, and is only
written.
"""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tracer.analysis.merge import recoded
from tracer.export import parquet
from tracer.format.errors import TraceError
from tracer.format.paths import keep, open_regular
from tracer.format.rowfile import PARQUET_MAGIC, checked
from tracer.format.schema import schema_names, schema_of, table_of, zeros
from tracer.format.sealing import SealedWriter
from tracer.format.sink import sink
from tracer.read.metadata import check_values, read_definition, read_metadata, read_summary
from tracer.read.tablefile import TableFile
from tracer.record.rewrite import empty, in_order, summary_metadata, write_file
from tracer.show import csv
from vmspec.trace import keys

KINDS = {".arrow": "file", ".feather": "file", ".arrows": "stream", ".parquet": "parquet", ".csv": "csv"}
NO_SUMMARY = {"complete": False}  # the summary of a trace without one: a file has to end with one


def convert(source: Path, target: Path) -> int:
    """Write the table in ``source``, the exits or any other, as ``target``'s suffix says; return the number of rows.

    The target appears whole or not at all. Raises TraceError for an unknown suffix, for a source that is not a trace,
    and if the target cannot be written.
    """
    import pyarrow as pa

    kind = KINDS.get(target.suffix)
    if kind is None:
        raise TraceError(f"{target}: the suffix must be one of {', '.join(KINDS)}")
    keep(target, (source,))
    schema, batches, summary = _opened(source)
    write = {"file": _file, "stream": _stream, "parquet": _parquet, "csv": _csv}[kind]
    try:
        return write(target, schema, batches, summary)
    except (OSError, pa.ArrowException) as error:
        raise TraceError(f"cannot write {target}: {error}") from error


def _opened(source: Path) -> tuple[Any, Callable[[], Iterator[Any]], dict[str, Any] | None]:
    """Schema, batches and summary of a table in any of the formats, recognised by content."""
    try:
        descriptor = open_regular(source)
        start = os.pread(descriptor, len(PARQUET_MAGIC), 0)
        os.close(descriptor)
    except OSError as error:
        raise TraceError(f"cannot open {source}: {error.strerror}") from error
    if start == PARQUET_MAGIC:
        return _of_parquet(source)
    if source.suffix == ".csv":
        raise TraceError(f"{source}: a CSV file has only the rows, so no trace can be made from it")
    table = TableFile(source)
    return table.schema, table.batches, table.summary


def _of_parquet(source: Path) -> tuple[Any, Callable[[], Iterator[Any]], dict[str, Any] | None]:
    import pyarrow as pa
    import pyarrow.parquet

    try:
        with pa.OSFile(os.fsencode(source), "rb") as opened, pyarrow.parquet.ParquetFile(opened) as file:
            found = file.schema_arrow
    except (pa.ArrowException, OSError, ValueError) as error:
        raise TraceError(f"{source} is damaged or cut short: {error}") from error
    table = read_definition(found)
    metadata = read_metadata(source, found, table)
    check_values(source, metadata, table)
    closing = metadata.pop(keys.SUMMARY, None)
    schema = schema_of(table, metadata)
    later = {column.name for column in table.columns if column.later}
    if set(schema.names) - later - set(found.names):
        raise TraceError(f"{source} does not have the columns of the table {table.name} of format {table.format}")
    summary = None if closing is None else read_summary(source, closing.encode(), table.summary)
    return schema, partial(_parquet_batches, source, schema), summary


def _parquet_batches(source: Path, schema: Any) -> Iterator[Any]:
    """Batches with a table's own types, which Parquet widens."""
    import pyarrow as pa
    import pyarrow.parquet

    names = schema_names(schema)
    try:
        with pa.OSFile(os.fsencode(source), "rb") as opened, pyarrow.parquet.ParquetFile(opened) as file:
            for batch in file.iter_batches(16384):
                arrays = []
                for field in schema:
                    if field.name not in batch.schema.names:
                        arrays.append(zeros(field, batch.num_rows, names.get(field.name)))
                        continue
                    array = batch[field.name]
                    if field.name in names:
                        array = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
                        known = names[field.name].to_pylist()
                        array = recoded(array, names[field.name], known.index)
                    arrays.append(array.cast(field.type))
                yield checked(pa.RecordBatch.from_arrays(arrays, schema=schema), table_of(schema).time)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise TraceError(f"{source} is damaged: {error}") from error


def _file(target: Path, schema: Any, batches: Callable[[], Iterator[Any]], summary: dict[str, Any] | None) -> int:
    return write_file(target, batches, schema, NO_SUMMARY if summary is None else summary)


def _stream(target: Path, schema: Any, batches: Callable[[], Iterator[Any]], summary: dict[str, Any] | None) -> int:
    import pyarrow as pa

    rows = 0
    with sink(target) as out, SealedWriter(out, schema, pa.ipc.new_stream) as writer:
        for batch in in_order(batches, table_of(schema).time):
            writer.write(batch)
            rows += batch.num_rows
        if summary is not None:
            writer.write(empty(schema), summary_metadata(summary))
    return rows


def _parquet(target: Path, schema: Any, batches: Callable[[], Iterator[Any]], summary: dict[str, Any] | None) -> int:
    with sink(target) as out:
        return parquet.write(schema, in_order(batches, table_of(schema).time), summary, out)


def _csv(target: Path, schema: Any, batches: Callable[[], Iterator[Any]], summary: dict[str, Any] | None) -> int:
    with sink(target) as out:
        return csv.write(schema, in_order(batches, table_of(schema).time), out)
