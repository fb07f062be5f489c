"""The outputs of devices, whose text no exit has, among the text that is rebuilt from the exits."""

from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

from tracer.read import printed
from tracer.read.printed import Port


class Piece(NamedTuple):
    """Consecutive bytes: byte n was written at time ``times[n]`` by row ``rows[n]``, or all of them at once if these
    have one element."""

    data: bytes
    times: Sequence[int]
    rows: Sequence[int]


class Sent:
    """The outputs of some ports in order, as pieces. ``outputs`` is the table, None: there is none."""

    def __init__(self, outputs: Any, ports: Sequence[Port]) -> None:
        wanted = {(port.device, port.number) for port in ports}
        self._rows = {port.device: 0 for port in ports}  # of each device's last write so far
        self._each = _rows(outputs, wanted) if outputs is not None and wanted else iter(())
        self._next = next(self._each, None)

    def during(self, batch: Any, written: Any, first: int) -> Iterator[Piece]:
        """The outputs up to the time of a batch's last row. ``first`` is the number of its first row, ``written`` the
        mask of those that write."""
        import pyarrow.compute as pc

        if not self._rows or not batch.num_rows:
            return
        times = batch["t_exit"]
        kicks = {}
        for device in self._rows:
            found = pc.indices_nonzero(pc.and_(printed.is_(batch["device"], device), written))
            kicks[device] = found.to_pylist(), times.take(found).to_pylist()
        end = times[-1].as_py()
        while self._next is not None and self._next["t"] <= end:
            numbers, moments = kicks[self._next["device"]]
            if at := bisect_right(moments, self._next["t"]):
                self._rows[self._next["device"]] = first + numbers[at - 1]
            yield self._piece(self._next)
            self._next = next(self._each, None)
        for device, (numbers, _) in kicks.items():
            if numbers:
                self._rows[device] = first + numbers[-1]

    def rest(self) -> Iterator[Piece]:
        """Those after the last exit."""
        while self._next is not None:
            yield self._piece(self._next)
            self._next = next(self._each, None)

    def _piece(self, output: dict[str, Any]) -> Piece:
        return Piece(output["data"], (output["t"],), (self._rows[output["device"]],))


def senders(outputs: Any) -> Collection[str]:
    """The devices in a table of outputs."""
    import pyarrow.compute as pc

    found: set[str] = set()
    for batch in outputs.batches(("device",)) if outputs is not None else ():
        found.update(pc.unique(batch["device"]).to_pylist())
    return found


def in_order(pieces: Iterator[Piece], sent: Iterator[Piece]) -> Iterator[Piece]:
    """The pieces of exits and those of outputs by their times."""
    piece = next(pieces, None)
    for output in sent:
        while piece is not None and piece.times[0] <= output.times[0]:
            at = bisect_right(piece.times, output.times[0])
            if at == len(piece.times):
                yield piece
                piece = next(pieces, None)
            else:
                yield Piece(piece.data[:at], piece.times[:at], piece.rows[:at])
                piece = Piece(piece.data[at:], piece.times[at:], piece.rows[at:])
        yield output
    if piece is not None:
        yield piece
        yield from pieces


def _rows(outputs: Any, wanted: Collection[tuple[str, int | None]]) -> Iterator[dict[str, Any]]:
    for batch in outputs.batches(("t", "device", "port", "data")):
        for row in batch.to_pylist():
            if (row["device"], row["port"]) in wanted:
                yield row
