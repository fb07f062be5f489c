"""Makes a finished trace from the files of a killed or failed run: whole batches of the stream, published records of
rings."""

import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from attrs import frozen

from tracer.format.errors import TraceError, TraceWarning
from tracer.format.paths import keep, lock
from tracer.format.schema import schema_names, schema_of
from tracer.read.lefttable import STREAM, finish
from tracer.read.metadata import unreadable
from tracer.read.reader import Trace, load
from tracer.read.ringfile import Ring, RingFile
from tracer.read.ringrows import ring_rows
from tracer.record.rewrite import write_file
from vmspec.trace.files import (
    BESIDE,
    beside,
    exists,
    ring_path,
    stream_path,
    table_path,
    trace_path,
    unfinished,
)
from vmspec.trace.record import EXITS
from vmspec.trace.tables import TABLES


@frozen
class Recovered:
    """The result of :func:`recover`. ``problems`` are sentences on what could not be read and what is missing.
    ``complete`` is True if the run had ended and only the finished file was missing. ``tables`` has the rows of each
    table beside the exits that was finished, by name."""

    path: Path
    rows_from_stream: int
    rows_from_ring: int
    problems: tuple[str, ...]
    complete: bool
    tables: dict[str, int]


def recover(path: str | os.PathLike[str], output: str | os.PathLike[str] | None = None) -> Recovered:
    """Write the finished trace from the stream and the ring file beside ``path``, which may name any of the three.

    The result is ``output``, or the ``.arrow`` beside them. It appears whole or not at all, and its sources are not
    changed. Raises TraceError if there is nothing to recover, a run is still recording, or writing fails.
    """
    import pyarrow as pa

    given = Path(path)
    target = Path(output) if output is not None else trace_path(given)
    for written in (target, *(table_path(target, table) for table in BESIDE)):
        keep(written, (*unfinished(given), *(file for file in beside(given) if file.suffix == STREAM)))
    with Salvage(given) as salvage:
        try:
            write_file(target, salvage.batches, salvage.schema, salvage.summary())
        except (pa.ArrowException, OSError) as error:
            raise TraceError(f"cannot write {target}: {error}; its sources are unchanged") from error
        tables: dict[str, int] = {}
        for name in BESIDE:
            try:
                rows, missing = finish(given, target, TABLES[name], salvage.rings)
            except (TraceError, pa.ArrowException, OSError) as error:
                salvage.problems.append(f"{TABLES[name].what} could not be recovered: {error}")
            else:
                tables |= {} if rows is None else {name: rows}
                salvage.problems += missing
        return Recovered(
            target, salvage.from_stream, salvage.from_ring, tuple(salvage.problems), salvage.stream_complete, tables
        )


class Salvage:
    """The stream and the rings of one run, joined. A context manager: it holds the ring file's lock."""

    def __init__(self, path: Path) -> None:
        self.problems: list[str] = []
        self.from_stream = self.from_ring = 0
        self._stream: Trace | None = None
        self.rings: RingFile | None = None
        self._wanted: list[tuple[Ring, range]] = []  # of each ring, which records
        self._next: dict[int, int] = {}  # number of the first record that is not in the stream, by vCPU
        with ExitStack() as stack:
            self._open(stream_path(path), ring_path(path), stack)
            self._same_run()
            self._read_stream()
            if not self.stream_complete:
                if self.rings is not None:
                    self._choose(self.rings)
                elif not exists(ring_path(path)):
                    self.problems.append(
                        f"there is no {ring_path(path)}: records that were not in the stream yet are lost"
                    )
            self._close = stack.pop_all()

    def __enter__(self) -> "Salvage":
        return self

    def __exit__(self, *_: object) -> None:
        self._close.close()

    @property
    def stream_complete(self) -> bool:
        """Whether the run had closed the stream, which then holds everything."""
        return self._stream is not None and self._stream.complete

    def summary(self) -> dict[str, Any]:
        """The closing summary: the run's own if it ended, else what is known, marked as incomplete."""
        if self._stream is not None and self._stream.summary is not None:
            return self._stream.summary
        controls = [ring.control for ring in self.rings.rings] if self.rings is not None else []
        return {
            **self._times(),
            "complete": False,
            "recovered": {"stream": self.from_stream, "ring": self.from_ring, "problems": self.problems},
            "rows": [self._next[vcpu] for vcpu in sorted(self._next)],
            "dropped": [control["dropped"] for control in controls],
            "interrupted": [control["interrupted"] for control in controls],
        }

    def _times(self) -> dict[str, Any]:
        """The run's times from the rings: of each vCPU, and when the recorder was last seen alive, at most a second
        before it was killed."""
        if self.rings is None:
            return {}
        count = 1 + max((ring.vcpu for ring in self.rings.rings), default=-1)
        times: dict[str, Any] = {}
        for name in ("start", "stop", "open"):
            found = {ring.vcpu: self.rings.nanoseconds(ring.control[name]) for ring in self.rings.rings}
            times[f"{name}_ns"] = [found.get(vcpu) for vcpu in range(count)]
        spent = {ring.vcpu: self.rings.paused(ring) for ring in self.rings.rings}
        times["paused_ns"] = [spent[vcpu][0] if vcpu in spent else None for vcpu in range(count)]
        times["pauses_ns"] = [spent[vcpu][1] if vcpu in spent else [] for vcpu in range(count)]
        seen = self.rings.nanoseconds(self.rings.tsc_seen)
        return times | ({} if seen is None else {"duration_ns": seen})

    def batches(self) -> Iterator[Any]:
        """All rows: the stream's batches, then the rows that only the rings have."""
        if self._stream is not None:
            yield from self._stream.batches()
        if self.rings is not None:
            for ring, wanted in self._wanted:
                yield from ring_rows(self.rings, ring, wanted, self.schema, self._names)

    def _open(self, stream: Path, ring: Path, stack: ExitStack) -> None:
        if not exists(stream) and not exists(ring):
            closed = trace_path(stream)
            hint = f"; {closed} can be read as it is" if exists(closed) else ""
            raise TraceError(f"nothing to recover: there is neither {stream} nor {ring}{hint}")
        if exists(ring):
            try:
                stack.callback(os.close, lock(ring))
            except OSError as error:
                raise TraceError(f"cannot open {ring}: {error.strerror}") from error
        if not exists(stream) and not exists(ring):
            raise TraceError(f"nothing to recover: the recorder has closed {trace_path(ring)}, though vmrun was killed")
        if exists(ring):
            try:
                self.rings = stack.enter_context(RingFile(ring))
                self.problems += self.rings.problems
                for key in unreadable(ring, self.rings.metadata, EXITS):
                    del self.rings.metadata[key]
                    self.problems.append(f"{ring}: {key} in the metadata is damaged, and left out")
                self.schema = schema_of(EXITS, self.rings.metadata)
            except TraceError as error:
                if not exists(stream):
                    raise
                self.problems.append(str(error))
        if exists(stream):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", TraceWarning)  # what is cut off is in the ring file too
                    self._stream = load(stream)
                self.schema = self._stream.schema
            except TraceError as error:
                if self.rings is None:
                    raise
                if stream.stat().st_size:  # a run that was killed early leaves an empty one
                    self.problems.append(str(error))
        self._names = schema_names(self.schema)

    def _read_stream(self) -> None:
        import pyarrow as pa

        for batch in self._stream.batches() if self._stream is not None else ():
            if not self.from_stream:
                self._names |= {name: batch.column(name).dictionary for name in self._names}
            self.from_stream += batch.num_rows
            last = pa.Table.from_batches([batch]).group_by("vcpu").aggregate([("seq", "max")])
            for vcpu, seq in zip(last["vcpu"].to_pylist(), last["seq_max"].to_pylist(), strict=True):
                self._next[vcpu] = max(self._next.get(vcpu, 0), seq + 1)

    def _same_run(self) -> None:
        rings, clock = self.rings, self._stream.clock if self._stream is not None else {}
        if rings is not None and clock and clock != {"tsc_start": rings.tsc_start, "tsc_khz": rings.tsc_khz}:
            raise TraceError(
                f"{stream_path(rings.path)} and {rings.path} are of different runs; "
                "move one of them to another name and recover each"
            )

    def _choose(self, rings: RingFile) -> None:
        """Read the rings once to count their good records; report what is missing."""
        for ring in rings.rings:
            first, head = max(ring.control["tail"], self._next.get(ring.vcpu, 0)), ring.control["head"]
            if first > self._next.get(ring.vcpu, 0):
                lost = first - self._next.get(ring.vcpu, 0)
                self.problems.append(f"vCPU {ring.vcpu}: the {lost} records before number {first} are lost")
            rows = sum(rows.num_rows for rows in ring_rows(rings, ring, range(first, head), self.schema, self._names))
            if first + rows < head:
                self.problems.append(
                    f"vCPU {ring.vcpu}: record {first + rows} in the ring is damaged or cut off; "
                    f"{head - first - rows} records are left out"
                )
            self._wanted.append((ring, range(first, first + rows)))
            self._next[ring.vcpu] = max(first + rows, self._next.get(ring.vcpu, 0))
            self.from_ring += rows
