"""What the guest printed, rebuilt from the exits: the bytes, and its lines with the time of their first byte."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from attrs import frozen

from tracer.devicenames import kind_of
from tracer.errors import TraceError

SERIAL, DEBUG = "serial", "debug-port"

# 16550A (National Semiconductor PC16550D, section 8): offsets from the base, and the bits that redirect offset 0.
THR, LCR, MCR = 0, 3, 4
LCR_DLAB = 0x80  # offset 0 is the low byte of the divisor
MCR_LOOP = 0x10  # what is transmitted comes back to the receiver


@frozen
class Line:
    """A console line without its end: ``t`` is when its first byte was written, ``gap`` the time since the line
    before (since the start for the first), both in ns; ``exits`` are those in that time, on all vCPUs."""

    t: int
    gap: int
    exits: int
    text: str


class Console:
    """The console of a trace: ``text`` is every byte written; ``device`` is None where the machine has no console.

    Without a name, the console is the first serial port, or else the first debug port. Of a serial port, offset 0
    is text unless the guest had turned it into the divisor latch or looped it back; of an access wider than a byte,
    the low byte is. Raises TraceError for a name that is not a serial or debug port of the machine.
    """

    def __init__(self, table: Any, devices: Sequence[str], device: str | None = None) -> None:
        consoles = [name for kind in (SERIAL, DEBUG) for name in devices if kind_of(name) == kind]
        if device is not None and device not in consoles:
            raise TraceError(f"{device!r} is not a console of this machine; its consoles: {', '.join(consoles) or '-'}")
        self.device = device or next(iter(consoles), None)
        self._all_times = table["t_exit"]
        self._pieces: list[bytes] = []
        self._ends: list[int] = []  # bytes up to the end of each piece
        self._piece_times: list[Any] = []  # of each piece: one time, or one for each byte
        if self.device is not None:
            self._collect(table)
        self.text = b"".join(self._pieces)

    def lines(self) -> list[Line]:
        """The lines, in order; a last line without a line feed counts, an empty one at the end does not."""
        times = _int64(self._all_times)
        lines: list[Line] = []
        start = before = exits_before = 0
        while start < len(self.text):
            end = self.text.find(b"\n", start)
            end = len(self.text) if end < 0 else end
            t = self._time(start)
            exits = bisect_right(times, t)
            text = self.text[start:end].rstrip(b"\r").decode(errors="replace")
            lines.append(Line(t, t - before, exits - exits_before, text))
            start, before, exits_before = end + 1, t, exits
        return lines

    def _time(self, at: int) -> int:
        """When the byte at an offset was written."""
        piece = bisect_right(self._ends, at)
        times = self._piece_times[piece]
        return times if isinstance(times, int) else int(times[at - self._ends[piece] + len(self._pieces[piece])])

    def _collect(self, table: Any) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        mask = pc.and_(pc.equal(table["device"].cast(pa.utf8()), self.device), pc.equal(table["direction"], "write"))
        rows = table.filter(mask).select(["t_exit", "addr", "size", "count", "data", "payload"]).combine_chunks()
        if kind_of(str(self.device)) == DEBUG:
            self._take(rows)
            return
        base = pc.bit_wise_and(rows["addr"], pa.scalar(~7 & (1 << 64) - 1, pa.uint64()))  # COM bases: multiples of 8
        offset = pc.subtract(rows["addr"], base)
        last = pc.add(offset, pc.subtract(pc.max_element_wise(rows["size"], pa.scalar(1, pa.uint8())), 1))
        control = pc.and_(pc.less_equal(offset, MCR), pc.greater_equal(last, LCR))
        lcr = mcr = start = 0
        for row in pc.indices_nonzero(control).to_pylist():
            self._take_thr(rows, offset, range(start, row + 1), not lcr & LCR_DLAB and not mcr & MCR_LOOP)
            at = offset[row].as_py()
            # A wide access is one to each of the registers it covers; of a string of accesses the last one stays.
            item = _items(rows, row)[-rows["size"][row].as_py() :]
            lcr = item[LCR - at] if at <= LCR < at + len(item) else lcr
            mcr = item[MCR - at] if at <= MCR < at + len(item) else mcr
            start = row + 1
        self._take_thr(rows, offset, range(start, rows.num_rows), not lcr & LCR_DLAB and not mcr & MCR_LOOP)

    def _take_thr(self, rows: Any, offset: Any, span: range, transmits: bool) -> None:
        import pyarrow.compute as pc

        if span and transmits:
            rows, offset = rows.slice(span.start, len(span)), offset.slice(span.start, len(span))
            self._take(rows.filter(pc.equal(offset, THR)))

    def _take(self, rows: Any) -> None:
        """Add the bytes of rows: those of one item all at once, string I/O row by row."""
        import pyarrow.compute as pc

        rows = rows.combine_chunks()
        start = 0
        for row in [*pc.indices_nonzero(pc.not_equal(rows["count"], 1)).to_pylist(), rows.num_rows]:
            if row > start:
                run = rows.slice(start, row - start)
                self._add(_bytes_of(run["data"])[::8].tobytes(), _int64(run["t_exit"]))
            if row < rows.num_rows:
                self._add(_items(rows, row)[:: max(rows["size"][row].as_py(), 1)], rows["t_exit"][row].as_py())
            start = row + 1

    def _add(self, data: bytes, times: Any) -> None:
        if data:
            self._pieces.append(data)
            self._piece_times.append(times)
            self._ends.append((self._ends[-1] if self._ends else 0) + len(data))


def _items(rows: Any, row: int) -> bytes:
    """The items that a row moved, all their bytes."""
    data = rows["payload"][row].as_py() or rows["data"][row].as_py().to_bytes(8, "little")
    return bytes(data[: rows["size"][row].as_py() * rows["count"][row].as_py()])


def _bytes_of(column: Any) -> memoryview:
    """The values of an 8-byte-wide column in memory; a copy where the column is in several chunks."""
    chunks = [
        memoryview(chunk.buffers()[1]).cast("B")[chunk.offset * 8 : (chunk.offset + len(chunk)) * 8]
        for chunk in column.chunks
        if len(chunk)
    ]
    return chunks[0] if len(chunks) == 1 else memoryview(b"".join(chunks))


def _int64(column: Any) -> memoryview:
    """An int64 column as a sequence."""
    return _bytes_of(column).cast("q")
