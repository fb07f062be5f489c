"""The exits of each vCPU of a trace as a stream, in columns that can be compared with another trace's.

A trace holds the rows of all vCPUs by time, with its own device codes. Here each batch is split by vCPU, and its
dictionary columns become codes of names that both traces share.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from tracer.read.reader import Trace


class Names:
    """Codes of names, the same for both traces; one object per dictionary column."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._known: list[tuple[Any, Any]] = []  # dictionaries seen, and our codes for theirs

    def codes(self, column: Any) -> Any:
        """A dictionary column as int32 codes."""
        theirs = column.dictionary
        ours = next((ours for known, ours in self._known if known is theirs or known.equals(theirs)), None)
        if ours is None:
            import pyarrow as pa

            names = [self._codes.setdefault(name, len(self._codes)) for name in theirs.to_pylist()]
            ours = pa.array(names, pa.int32())
            self._known = [*self._known[-7:], (theirs, ours)]
        return ours.take(column.indices)


class Splitter:
    """Splits batches by vCPU and keeps the columns that are compared."""

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = tuple(columns)
        self._names = {name: Names() for name in columns}

    def read(self, trace: Trace) -> Iterator[list[tuple[int, Any]]]:
        """For each batch of a trace: (vCPU, its rows); the rows are a record batch of the compared columns."""
        for batch in trace.batches(["vcpu", *self.columns]):
            yield list(self._split(batch))

    def _split(self, batch: Any) -> Iterator[tuple[int, Any]]:
        import pyarrow as pa
        import pyarrow.compute as pc

        vcpus = batch.column("vcpu")
        arrays = [self._plain(name, batch.column(name)) for name in self.columns]
        rows = pa.RecordBatch.from_arrays(arrays, names=list(self.columns))
        counts = sorted((entry["values"], entry["counts"]) for entry in pc.value_counts(vcpus).to_pylist())
        if len(counts) > 1:
            rows = rows.take(pc.sort_indices(vcpus))  # a stable sort: each vCPU's rows keep their order
        start = 0
        for vcpu, count in counts:
            yield vcpu, rows.slice(start, count)
            start += count

    def _plain(self, name: str, column: Any) -> Any:
        import pyarrow as pa

        return self._names[name].codes(column) if pa.types.is_dictionary(column.type) else column


class Stream:
    """Rows of one vCPU of one trace that wait to be compared, from its row ``row`` on. ``ended``: no more will come."""

    def __init__(self) -> None:
        self._chunks: deque[Any] = deque()
        self.row = 0
        self.waiting = 0
        self.ended = False

    def push(self, rows: Any) -> None:
        """Add rows at the end."""
        self._chunks.append(rows)
        self.waiting += rows.num_rows

    def head(self) -> Any:
        """The first waiting chunk; there must be one."""
        return self._chunks[0]

    def drop(self, count: int) -> None:
        """Drop the first rows."""
        self.row += count
        self.waiting -= count
        while count:
            first = self._chunks[0]
            if first.num_rows > count:
                self._chunks[0] = first.slice(count)
                return
            count -= first.num_rows
            self._chunks.popleft()

    def window(self, count: int) -> Any:
        """The first rows, at most ``count``, in one record batch; at least one row must wait."""
        import pyarrow as pa

        pieces, have = [], 0
        for chunk in self._chunks:
            pieces.append(chunk.slice(0, count - have))
            have += pieces[-1].num_rows
            if have == count:
                break
        return pieces[0] if len(pieces) == 1 else pa.Table.from_batches(pieces).combine_chunks().to_batches()[0]

    @property
    def finished(self) -> bool:
        """Whether every row has been compared."""
        return self.ended and not self.waiting
