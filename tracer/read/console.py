"""What the guest printed, rebuilt from the exits: the bytes, and its lines with the time of their first byte."""

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from attrs import frozen

from tracer.format.devicenames import kind_of
from tracer.format.errors import TraceError

SERIAL, DEBUG = "serial", "debug-port"

# 16550A (National Semiconductor PC16550D, section 8): offsets from the base, and the bits that redirect offset 0.
THR, LCR, MCR = 0, 3, 4
LCR_DLAB = 0x80  # offset 0 is the low byte of the divisor
MCR_LOOP = 0x10  # what is transmitted comes back to the receiver

COLUMNS = ("t_exit", "addr", "size", "count", "direction", "data", "payload", "device")
LINES_MAX = 1_000_000
LINE_MAX = 4096  # bytes kept of one line: a guest may never end one


@frozen
class Line:
    """A console line without its end: ``t`` is when its first byte was written, ``gap`` the time since the line
    before (since the start for the first), both in ns; ``row`` is the row of the trace that wrote that byte."""

    t: int
    gap: int
    row: int
    text: str


class Abridged(NamedTuple):
    """The lines of a console, or its first and last ones: at index ``at`` then stands a line that says how many,
    ``left_out``, are not here, at the time of the first of them. ``at`` is None where all are."""

    lines: list[Line]
    left_out: int
    at: int | None


class Piece(NamedTuple):
    """Bytes that were written one after another: byte n at time ``times[n]`` by row ``rows[n]``, or all of them at once
    where these have one element."""

    data: bytes
    times: Sequence[int]
    rows: Sequence[int]


class Console:
    """The console of a trace; ``device`` is None where the machine has no console.

    ``rows`` is a :class:`tracer.Trace`, of which the console's rows are read batch by batch each time, or a
    ``pyarrow.Table``. Without a name, the console is the first serial port, or else the first debug port. Of a serial
    port, offset 0 is text unless the guest had turned it into the divisor latch or looped it back; of an access wider
    than a byte, the low byte is. Raises TraceError for a name that is not a serial or debug port of the machine.
    """

    def __init__(self, rows: Any, devices: Sequence[str], device: str | None = None) -> None:
        consoles = [name for kind in (SERIAL, DEBUG) for name in devices if kind_of(name) == kind]
        if device is not None and device not in consoles:
            raise TraceError(f"{device!r} is not a console of this machine; its consoles: {', '.join(consoles) or '-'}")
        self.device = device or next(iter(consoles), None)
        self._rows = rows

    @property
    def text(self) -> bytes:
        """Every byte written."""
        return b"".join(piece.data for piece in self.pieces())

    def lines(self) -> list[Line]:
        """The lines, in order; a last line without a line feed counts, an empty one at the end does not.

        Raises TraceError where there are more than a million.
        """
        lines = list(islice(self._each(), LINES_MAX + 1))
        if len(lines) > LINES_MAX:
            raise TraceError(f"{self.device} has more than {LINES_MAX:,} lines: vmtrace console prints them")
        return lines

    def abridged(self, keep: int) -> Abridged:
        """The first and the last ``keep`` lines, however many there are."""
        each = self._each()
        head, tail = list(islice(each, keep)), list(islice(each, keep))
        last, first, count = deque(tail, keep), None, 0
        for line in each:
            first = first or last[0]
            count += 1
            last.append(line)
        if first is None:
            return Abridged(head + tail, 0, None)
        missing = Line(first.t, first.gap, first.row, f"({count:,} lines are left out here)")
        return Abridged([*head, missing, *last], count, len(head))

    def _each(self) -> Iterator[Line]:
        before = 0
        begun: tuple[int, int] | None = None  # time and row of the first byte of the line that is being read
        held = b""

        def ended(begun: tuple[int, int]) -> Line:
            return Line(begun[0], begun[0] - before, begun[1], held.rstrip(b"\r").decode(errors="replace"))

        for data, times, rows in self.pieces():
            at = 0
            while at < len(data):
                feed = data.find(b"\n", at)
                stop = len(data) if feed < 0 else feed
                if begun is None:
                    begun, held = (times[at if len(times) > 1 else 0], rows[at if len(rows) > 1 else 0]), b""
                held += data[at : min(stop, at + LINE_MAX - len(held))]
                if feed >= 0:
                    yield ended(begun)
                    before, begun = begun[0], None
                at = stop + 1
        if begun is not None:
            yield ended(begun)

    def pieces(self) -> Iterator[Piece]:
        """What was written, in order."""
        if self.device is None:
            return
        plain = kind_of(self.device) == DEBUG
        lcr = mcr = first = 0
        for batch in self._batches():
            rows = self._written(batch, first)
            first += batch.num_rows
            if plain:
                yield from _pieces(rows)
                continue
            offset = _offset(rows)
            sent = bytearray(rows.num_rows)  # 1: what goes to offset 0 is transmitted
            start = 0
            control = _control(rows, offset)
            # A guest may write these registers as often as others print, so that no row may cost a call of Arrow's.
            for row, at, size, moved in zip(
                control.to_pylist(),
                offset.take(control).to_pylist(),
                rows["size"].take(control).to_pylist(),
                _items(rows.take(control)),
                strict=True,
            ):
                if not lcr & LCR_DLAB and not mcr & MCR_LOOP:
                    sent[start : row + 1] = b"\1" * (row + 1 - start)
                # A wide access is one to each of the registers it covers; of a string of accesses the last one stays.
                item = moved[-size:]
                lcr = item[LCR - at] if at <= LCR < at + len(item) else lcr
                mcr = item[MCR - at] if at <= MCR < at + len(item) else mcr
                start = row + 1
            if not lcr & LCR_DLAB and not mcr & MCR_LOOP:
                sent[start:] = b"\1" * (rows.num_rows - start)
            yield from _transmitted(rows, offset, sent)

    def _batches(self) -> Iterator[Any]:
        import pyarrow as pa

        if isinstance(self._rows, pa.Table):
            return iter(self._rows.select(list(COLUMNS)).to_batches())
        batches: Iterator[Any] = self._rows.batches(COLUMNS)
        return batches

    def _written(self, batch: Any, first: int) -> Any:
        """The rows of a batch that write to the console, with their numbers in the trace as the column "row"."""
        import pyarrow as pa
        import pyarrow.compute as pc

        mask = pc.and_(_is(batch["device"], self.device), _is(batch["direction"], "write"))
        found = pc.indices_nonzero(mask)
        numbers = pc.add(found.cast(pa.int64()), pa.scalar(first, pa.int64()))
        wanted = batch.select(["t_exit", "addr", "size", "count", "data", "payload"])
        table = pa.Table.from_batches([wanted]).take(found).combine_chunks()
        return table.append_column("row", pa.chunked_array([numbers]))


def _is(column: Any, name: str | None) -> Any:
    """Where a dictionary column has a name: compared by its code."""
    import pyarrow as pa
    import pyarrow.compute as pc

    code = pc.index(column.dictionary, name).as_py()
    return pc.equal(column.indices, pa.scalar(code, column.indices.type))


def _offset(rows: Any) -> Any:
    """Offsets of the accesses from the port's base; COM bases are multiples of 8."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.bit_wise_and(rows["addr"], pa.scalar(7, pa.uint64()))


def _control(rows: Any, offset: Any) -> Any:
    """The rows that reach the line or modem control register, by number."""
    import pyarrow as pa
    import pyarrow.compute as pc

    last = pc.add(offset, pc.subtract(pc.max_element_wise(rows["size"], pa.scalar(1, pa.uint8())), 1))
    return pc.indices_nonzero(pc.and_(pc.less_equal(offset, MCR), pc.greater_equal(last, LCR)))


def _transmitted(rows: Any, offset: Any, sent: bytearray) -> Iterator[Piece]:
    import pyarrow as pa
    import pyarrow.compute as pc

    on = pa.Array.from_buffers(pa.uint8(), len(sent), [None, pa.py_buffer(sent)])
    yield from _pieces(rows.filter(pc.and_(pc.equal(offset, THR), pc.equal(on, 1))))


def _pieces(rows: Any) -> Iterator[Piece]:
    """The bytes of rows: those of one item all at once, string I/O row by row."""
    import pyarrow.compute as pc

    rows = rows.combine_chunks()
    data, times, numbers = _bytes_of(rows["data"]), _int64(rows["t_exit"]), _int64(rows["row"])
    strings = pc.indices_nonzero(pc.not_equal(rows["count"], 1))
    sizes = rows["size"].take(strings).to_pylist()
    start = 0
    for row, size, moved in zip(strings.to_pylist(), sizes, _items(rows.take(strings)), strict=True):
        if row > start:
            yield Piece(data[8 * start : 8 * row : 8].tobytes(), times[start:row], numbers[start:row])
        if text := moved[:: max(size, 1)]:
            yield Piece(text, (times[row],), (numbers[row],))
        start = row + 1
    if start < rows.num_rows:
        yield Piece(data[8 * start :: 8].tobytes(), times[start:], numbers[start:])


def _items(rows: Any) -> Iterator[bytes]:
    """The items that each row moved, all their bytes."""
    columns = (rows[name].to_pylist() for name in ("payload", "data", "size", "count"))
    for payload, data, size, count in zip(*columns, strict=True):
        yield bytes((payload or data.to_bytes(8, "little"))[: size * count])


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
