"""Parquet: the same rows, columns and metadata, for pandas, polars and DuckDB without pyarrow's IPC.

The closing summary, which has no row, is the key ``vmrun.summary`` of the schema's metadata.
"""

from collections.abc import Iterable
from typing import Any, BinaryIO

from tracer.record.rewrite import gathered, summary_metadata

GROUP = 1 << 18  # rows of a row group


def write(schema: Any, batches: Iterable[Any], summary: dict[str, Any] | None, out: BinaryIO) -> int:
    """Write a trace's batches, in row groups of at least :data:`GROUP` rows; return the number of rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    extra = {} if summary is None else summary_metadata(summary)
    schema = schema.with_metadata({**schema.metadata, **{key.encode(): text.encode() for key, text in extra.items()}})
    rows = 0
    with pq.ParquetWriter(out, schema, compression="zstd") as writer:
        for batch in gathered(batches, GROUP):
            table = pa.Table.from_batches([batch]).replace_schema_metadata(schema.metadata)
            writer.write_table(table, row_group_size=2 * GROUP)
            rows += batch.num_rows
    return rows
