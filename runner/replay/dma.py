"""The DMA of a recording, in order. It is read batch by batch: it may be larger than the host's memory."""

from collections.abc import Iterator
from typing import NamedTuple

from tracer.format.errors import TraceError
from tracer.read.tablefile import TableFile

COLUMNS = ("vcpu", "seq", "device", "direction", "addr", "data")


class Transfer(NamedTuple):
    """What a device wrote to the guest's memory, or read there, at the exit with this number, before the guest went
    on. ``direction`` is "write" or "read"."""

    exit: int
    device: str
    direction: str
    addr: int
    data: bytes


class Transfers:
    """Those of a table, of a recording with so many exits. Iterating raises TraceError where the table is damaged, and
    where it is not of such a recording."""

    def __init__(self, table: TableFile, exits: int) -> None:
        """Raises TraceError, also for a row that is wrong."""
        self._table, self._exits = table, exits
        if not table.complete:
            raise TraceError(f"{table.path}: the table of DMA is not complete, so the run cannot be replayed")
        for _ in self:
            pass

    def __iter__(self) -> Iterator[Transfer]:
        path, newest, number = self._table.path, 0, 0
        for batch in self._table.batches(list(COLUMNS)):
            for row in batch.to_pylist():
                if row.pop("vcpu") != 0:
                    raise TraceError(f"{path}: row {number} is of another vCPU, and a recording has one")
                exit = row.pop("seq")
                if exit < newest:
                    raise TraceError(f"{path}: row {number} is of exit {exit}, and comes after one of exit {newest}")
                if exit > self._exits:  # a run that was killed may have no row of its last exit
                    raise TraceError(f"{path}: row {number} is of exit {exit}, and the run has {self._exits} exits")
                yield Transfer(exit, **row)
                newest, number = exit, number + 1
