"""Writes batches that are almost in order to one finished trace file, whole or not at all."""

import json
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from heapq import heappop, heappush
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any

from tracer.format.schema import schema_names, table_of
from tracer.format.sealing import SealedWriter
from tracer.record.buffers import Buffers
from vmspec.host.atomic import replaced
from vmspec.trace import keys

BATCH_ROWS = 65536  # each costs a reader as much as some ten thousand rows, and the recorder 10 MiB
BATCH_BYTES = 16 << 20  # decompressed; batches of rows with long payloads would exceed what a reader accepts
# The same of tables whose rows Python makes: they may have any bytes, such as the zeros of a disk. A larger batch of
# equal bytes compresses so well that a reader would reject it as a bomb (tracer/format/messages.py, RATIO_MAX).
PLAIN_BYTES = 1 << 19
# Of levels 1 to 4 the least CPU and nearly the fewest bytes.
LEVEL = 3


def write_file(
    target: Path,
    read: Callable[[], Iterable[Any]],
    schema: Any,
    summary: dict[str, Any],
) -> int:
    """Write batches as a zstd-compressed Arrow file, ordered by time, with the summary at the end. Return the number of
    rows.

    ``read`` is called twice and returns the same record batches each time, each of them ordered by time. The file
    appears under its name complete and on disk, or not at all; a link is followed. Raises OSError or
    ``pyarrow.ArrowException``.
    """
    import pyarrow as pa

    rows = 0
    # Compression threads would each hold a batch; they would save little time.
    options = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", LEVEL), use_threads=False)
    with (
        replaced(target) as out,
        SealedWriter(out, schema, pa.ipc.new_file, options) as writer,
    ):
        table = table_of(schema)
        plain = table.records is None and table.binary is not None
        for batch in gathered(in_order(read, table.time), BATCH_ROWS):
            for piece in _pieces(batch, PLAIN_BYTES) if plain else (batch,):
                writer.write(piece)
            rows += batch.num_rows
            del batch, piece  # before the next ones are gathered
        writer.write(empty(schema), summary_metadata(summary))
    return rows


def summary_metadata(summary: dict[str, Any]) -> dict[str, str]:
    """The custom metadata of the closing batch, in a stream and in a file."""
    return {keys.SUMMARY: json.dumps(summary)}


def empty(schema: Any) -> Any:
    """The closing batch: no rows, but the same dictionaries as all others, because a file allows only one of each."""
    return Buffers(table_of(schema), rows=0, payload_capacity=0).batch(0, schema, schema_names(schema))


def in_order(read: Callable[[], Iterable[Any]], time: str) -> Iterator[Any]:
    """The rows of ordered batches ordered by time over all of them; rows of equal time keep their order.

    Rings are drained one after another, so neighbouring batches overlap slightly. An exit that was handled for seconds
    comes that much later. Rows are passed on once nothing earlier can come. Held-back rows stay as they came, and each
    row is sorted once, however long it was held.
    """
    floors = [times(batch, time)[0] if batch.num_rows else None for batch in read()]
    lowest: int | None = None
    for index in reversed(range(len(floors))):
        first, floors[index] = floors[index], lowest  # floors[i] becomes the earliest time after batch i
        if first is not None:
            lowest = first if lowest is None else min(lowest, first)
    held: list[tuple[int, int, Any]] = []  # a heap of batches: the first time, the batch's number, its remaining rows
    for number, (batch, floor) in enumerate(zip(read(), floors, strict=True)):
        if batch.num_rows:
            heappush(held, (times(batch, time)[0], number, batch))
        ready: list[tuple[int, Any]] = []
        while held and (floor is None or held[0][0] <= floor):
            _, number_, left = heappop(held)
            count = left.num_rows if floor is None else bisect_right(times(left, time), floor)
            ready.append((number_, left.slice(0, count)))
            if count < left.num_rows:
                left = left.slice(count)
                heappush(held, (times(left, time)[0], number_, left))
        if ready:
            yield from _pieces(_merged([piece for _, piece in sorted(ready, key=itemgetter(0))], time), BATCH_BYTES)


def _pieces(batch: Any, most: int) -> Iterator[Any]:
    """A batch in parts that a reader accepts: one late row may hold back most of a trace."""
    if batch.num_rows <= BATCH_ROWS and (batch.nbytes <= most or batch.num_rows == 1):
        yield batch
        return
    half = batch.num_rows // 2
    yield from _pieces(batch.slice(0, half), most)
    yield from _pieces(batch.slice(half), most)


def gathered(batches: Iterable[Any], rows: int) -> Iterator[Any]:
    """The same rows in batches of at least ``rows`` rows or :data:`BATCH_BYTES` bytes, the last one separate."""
    pieces: list[Any] = []
    count = size = 0
    for batch in batches:
        pieces.append(batch)
        count += batch.num_rows
        size += batch.nbytes
        if count >= rows or size >= BATCH_BYTES:
            yield _joined(pieces)
            count = size = 0
    if pieces:
        yield _joined(pieces)


def _joined(pieces: list[Any]) -> Any:
    """Batches as one. The list is emptied, so that nothing is in memory twice while the next ones are gathered."""
    import pyarrow as pa

    joined = pieces[0] if len(pieces) == 1 else pa.Table.from_batches(pieces).combine_chunks().to_batches()[0]
    pieces.clear()
    return joined


def times(batch: Any, time: str) -> memoryview:
    """The times of a batch as int64s, without a copy."""
    column = batch.column(time)
    values = memoryview(column.buffers()[1]).cast("q")
    return values[column.offset : column.offset + len(column)]


def _merged(pieces: list[Any], time: str) -> Any:
    """Ordered batches as one ordered batch; of rows of equal time the earlier batch's come first."""
    if len(pieces) == 1:
        return pieces[0]
    import pyarrow as pa

    table = pa.Table.from_batches(pieces)
    if any(times(after, time)[0] < times(before, time)[-1] for before, after in pairwise(pieces)):
        import pyarrow.compute as pc  # 60 ms and 9 MB, so only if something overlaps

        table = table.take(pc.sort_indices(table[time]))  # a stable sort
    return table.combine_chunks().to_batches()[0]
