"""A table beside the exits as a killed run left it: its stream, and the records of its ring that are not in it."""

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tracer.format.errors import TraceError, TraceWarning
from tracer.format.schema import schema_names, schema_of
from tracer.read.ringfile import Ring, RingFile
from tracer.read.ringrows import ring_rows
from tracer.read.tablefile import TableFile
from tracer.record.rewrite import write_file
from vmspec.trace import keys
from vmspec.trace.files import exists, table_files, table_path
from vmspec.trace.table import Table

STREAM = ".arrows"


def finish(trace: Path, target: Path, table: Table, rings: RingFile | None) -> tuple[int | None, list[str]]:
    """Write the finished file of a table beside ``target``, from what is left of it beside ``trace``. Returns its rows,
    None where there is nothing of it, and what is missing, a sentence each. Raises TraceError, OSError and
    ``pyarrow.ArrowException``."""
    ring = None if rings is None or rings.requests is None or rings.requests.table is not table else rings.requests
    streams = (file for file in table_files(trace, table.name) if file.suffix == STREAM)
    stream = next((file for file in streams if exists(file) and file.stat().st_size), None)
    if stream is None and ring is None:
        return None, []
    with warnings.catch_warnings():
        if ring is not None:
            warnings.simplefilter("ignore", TraceWarning)  # what is cut off is in the ring too
        left = TableFile(stream, table) if stream is not None else None
        if left is not None and (left.summary is not None or rings is None or ring is None):
            summary = left.summary or {"complete": False}
            return write_file(table_path(target, table.name), left.batches, left.schema, summary), []
        assert rings is not None
        assert ring is not None
        joined = _Joined(left, rings, ring)
        rows = write_file(table_path(target, table.name), joined.batches, joined.schema, joined.summary())
    return rows, joined.problems


class _Joined:
    """The rows of a stream, None: there is none, and of the ring of the same run."""

    def __init__(self, stream: TableFile | None, rings: RingFile, ring: Ring) -> None:
        table, self.problems = ring.table, list[str]()
        assert table.records is not None
        self._stream, self._rings, self._ring, self._number = stream, rings, ring, table.records.number
        clock = {"tsc_start": rings.tsc_start, "tsc_khz": rings.tsc_khz}
        if stream is None:
            names = {key: rings.metadata[key] for key in table.keys}
            self.schema = schema_of(table, {keys.CLOCK: json.dumps(clock), **names})
        elif json.loads(stream.metadata.get(keys.CLOCK, "{}")) == clock:
            self.schema = stream.schema
        else:
            raise TraceError(f"{stream.path} and {rings.path} are of different runs")
        self._names = schema_names(self.schema)
        self._wanted = self._choose(self._next())

    def _next(self) -> int:
        """The number of the first record that is not in the stream."""
        import pyarrow.compute as pc

        number = 0
        for batch in self._stream.batches() if self._stream is not None else ():
            self._names |= {name: batch.column(name).dictionary for name in self._names}
            number = max(number, (pc.max(batch[self._number]).as_py() or 0) + 1)
        return number

    def _choose(self, number: int) -> range:
        """The good records of the ring that the stream lacks; report what is missing."""
        control, what = self._ring.control, self._ring.table.what
        first, head = max(control["tail"], number), control["head"]
        if first > number:
            self.problems.append(f"the {first - number} {what} before number {first} are lost")
        rows = sum(batch.num_rows for batch in self._of_ring(range(first, head)))
        if first + rows < head:
            self.problems.append(
                f"number {first + rows} of the {what} in the ring is damaged or cut off; {head - first - rows} {what} "
                "are left out"
            )
        return range(first, first + rows)

    def _of_ring(self, wanted: range) -> Iterator[Any]:
        return ring_rows(self._rings, self._ring, wanted, self.schema, self._names)

    def batches(self) -> Iterator[Any]:
        """The stream's batches, then the rows that only the ring has."""
        if self._stream is not None:
            yield from self._stream.batches()
        yield from self._of_ring(self._wanted)

    def summary(self) -> dict[str, Any]:
        """What is known of the table's end."""
        return {"complete": False, "rows": self._wanted.stop, "dropped": self._ring.control["dropped"]}
