"""Parquet: the same rows, columns and metadata, which pandas, polars and DuckDB read without pyarrow's IPC."""

from typing import BinaryIO

from tracer.reader import Trace
from tracer.rewrite import gathered

GROUP = 1 << 18  # rows of a row group


def write(trace: Trace, out: BinaryIO) -> None:
    """Write all rows, in row groups of at least :data:`GROUP` rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetWriter(out, trace.schema, compression="zstd") as writer:
        for batch in gathered(trace.batches(), GROUP):
            writer.write_table(pa.Table.from_batches([batch]), row_group_size=2 * GROUP)
