"""The guest's output, rebuilt from the exits and the table of outputs: the bytes, and its lines with the time of their
first byte."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from attrs import frozen

from tracer.format.errors import TraceError
from tracer.read import printed
from tracer.read.printed import Transmitter
from tracer.read.sent import Piece, Sent, in_order, senders
from vmspec.trace.outputs import OUTPUTS

COLUMNS = ("t_exit", "reason", "addr", "size", "count", "direction", "data", "payload", "device", "flags")
LINES_MAX = 1_000_000
LINE_MAX = 4096  # bytes kept of one line: a guest may never end it


@frozen
class Line:
    """A console line without its end: ``t`` is when its first byte was written, ``gap`` the time since the line
    before (since the start for the first), both in ns; ``row`` is the row of the trace that wrote that byte."""

    t: int
    gap: int
    row: int
    text: str


class Abridged(NamedTuple):
    """The lines of a console, or its first and last ones. At index ``at`` is then a line that says how many,
    ``left_out``, are missing, at the time of the first of them. ``at`` is None if all lines are there."""

    lines: list[Line]
    left_out: int
    at: int | None


class Console:
    """The console of a trace. ``devices`` are those that print it, ``device`` the first of them, None if the machine
    has no console.

    ``rows`` is a :class:`tracer.Trace`, whose console rows are read batch by batch each time, or a ``pyarrow.Table`` of
    a trace, which is without outputs. A machine's console is the output of its first serial port, or else its first
    virtio console, or else its first debug port, and of others that print to the same place. With a name, it is the
    output of that port alone. Offset 0 of a serial port is text unless the guest has selected the divisor latch or
    loopback. The row of an output is its device's last write before it: the guest's notification.

    Raises TraceError for a name that is not a console of the machine.
    """

    def __init__(self, rows: Any, devices: Sequence[str], device: str | None = None) -> None:
        self._outputs = None if _is_table(rows) else rows.tables.get(OUTPUTS.name)
        ports = printed.ports(_metadata(rows), devices, senders(self._outputs))
        if device is not None and device not in [port.name for port in ports]:
            names = ", ".join(port.name for port in ports) or "-"
            raise TraceError(f"{device!r} is not a console of this machine; its consoles: {names}")
        if device is None:
            self._ports = [port for port in ports if port.sink == ports[0].sink]
        else:
            self._ports = [port for port in ports if port.name == device]
        self.devices = tuple(port.name for port in self._ports)
        self.device = next(iter(self.devices), None)
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
            raise TraceError(
                f"{', '.join(self.devices)} has more than {LINES_MAX:,} lines: vmtrace console prints them"
            )
        return lines

    def abridged(self, keep: int) -> Abridged:
        """The first and the last ``keep`` lines."""
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
        begun: tuple[int, int] | None = None  # time and row of the first byte of the current line
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
        """The bytes written, in order."""
        import pyarrow as pa
        import pyarrow.compute as pc

        own = [port for port in self._ports if port.number is None]
        sent = Sent(self._outputs, [port for port in self._ports if port.number is not None])
        transmitters = [Transmitter(port) for port in own]
        first = low = 0
        for batch in self._batches() if self._ports else ():
            written = printed.is_(batch["direction"], "write")
            found = pc.indices_nonzero(pc.and_(printed.reaching(batch, [port.name for port in own]), written))
            pieces: Iterator[Piece] = iter(())
            if len(found) and transmitters:
                rows = pa.Table.from_batches([batch]).take(found).combine_chunks()
                text = transmitters[0].text(rows)
                for transmitter in transmitters[1:]:
                    text = pc.bit_wise_or(text, transmitter.text(rows))
                numbers = pc.add(found.cast(pa.int64()), pa.scalar(first, pa.int64()))
                rows = rows.append_column("row", pa.chunked_array([numbers])).append_column("text", text)
                pieces = _pieces(rows.filter(pc.not_equal(text, 0)))
            for piece in in_order(pieces, sent.during(batch, written, first)):
                yield piece._replace(rows=(low,)) if piece.rows[0] < low else piece  # rows never fall
                low = max(low, piece.rows[-1])
            first += batch.num_rows
        for piece in sent.rest():
            yield piece._replace(rows=(max(low, piece.rows[0]),))

    def _batches(self) -> Iterator[Any]:
        if _is_table(self._rows):
            return iter(self._rows.select(list(COLUMNS)).to_batches())
        batches: Iterator[Any] = self._rows.batches(COLUMNS)
        return batches


def _is_table(rows: Any) -> bool:
    import pyarrow as pa

    return isinstance(rows, pa.Table)


def _metadata(rows: Any) -> Mapping[str, str]:
    if _is_table(rows):
        return {key.decode(): value.decode() for key, value in (rows.schema.metadata or {}).items()}
    metadata: Mapping[str, str] = rows.metadata
    return metadata


def _pieces(rows: Any) -> Iterator[Piece]:
    """The bytes of rows: all at once for rows whose first byte is text; row by row for string I/O and the second
    devices of split accesses."""
    import pyarrow.compute as pc

    rows = rows.combine_chunks()
    data, times, numbers = _bytes_of(rows["data"]), _int64(rows["t_exit"]), _int64(rows["row"])
    others = pc.indices_nonzero(pc.or_(pc.not_equal(rows["count"], 1), pc.not_equal(rows["text"], 1)))
    columns = (rows[name].take(others).to_pylist() for name in ("size", "text"))
    start = 0
    for row, size, text, moved in zip(others.to_pylist(), *columns, printed.items(rows.take(others)), strict=True):
        if row > start:
            yield Piece(data[8 * start : 8 * row : 8].tobytes(), times[start:row], numbers[start:row])
        if found := _transmitted(moved, max(size, 1), text):
            yield Piece(found, (times[row],), (numbers[row],))
        start = row + 1
    if start < rows.num_rows:
        yield Piece(data[8 * start :: 8].tobytes(), times[start:], numbers[start:])


def _transmitted(moved: bytes, size: int, text: int) -> bytes:
    """The bytes of all items whose bits are set in ``text``."""
    if text == 1:
        return moved[::size]
    return bytes(byte for at, byte in enumerate(moved) if text >> at % size & 1)


def _bytes_of(column: Any) -> memoryview:
    """The values of an 8-byte-wide column of at most one chunk, in memory."""
    if not len(column):
        return memoryview(b"")
    chunk = column.chunk(0)
    return memoryview(chunk.buffers()[1]).cast("B")[chunk.offset * 8 : (chunk.offset + len(chunk)) * 8]


def _int64(column: Any) -> memoryview:
    """An int64 column as a sequence."""
    return _bytes_of(column).cast("q")
