"""The console for a page: the rows that make it, gathered in bounded memory, and its lines as people read them."""

import re
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from attrs import frozen

from tracer.analysis.chunks import named
from tracer.console import COLUMNS, LCR, MCR, Console, Line
from vmspec.printable import printable

KEPT = 1 << 19  # bytes of console at the start, and again at the end, of a longer one
LINES = 4000  # shown at the start, and again at the end
WIDTH = 2000  # characters shown of a line
CONTROL = 64  # writes of the port's control registers kept from what is left out: the last ones count

# ECMA-48: control sequences (CSI), and strings (OSC and its like) that BEL or ST ends.
ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")


@frozen
class Printed:
    """A line as people read it: ``t`` is when its first byte was written, ``gap`` the time since the line before (since
    the start for the first), both in ns."""

    t: int
    gap: int
    text: str


@frozen
class Text:
    """Console lines, in order. Where ``left_out`` is not 0, so many bytes are missing before line ``resumes``."""

    device: str | None
    lines: tuple[Printed, ...]
    resumes: int
    left_out: int


class ConsoleRows:
    """Gathers the console's rows, of its start and of its end, from tables (columns :data:`tracer.console.COLUMNS`)."""

    def __init__(self, devices: Sequence[str], schema: Any, kept: int = KEPT) -> None:
        self.devices = devices
        self.device = Console(schema.empty_table(), devices).device
        self.kept = kept
        self.left_out = 0
        self._schema = schema
        self._head: list[Any] = []
        self._room = kept
        self._tail: Any = None
        self._control: Any = None  # the last writes of the port's control registers before the tail

    def add(self, rows: Any) -> None:
        """Take the console's rows from a table."""
        import pyarrow.compute as pc

        if self.device is None:
            return
        rows = rows.select(list(COLUMNS))
        rows = rows.filter(pc.and_(named(rows["device"], [self.device]), named(rows["direction"], ["write"])))
        if self._room > 0 and rows.num_rows:
            reached = pc.cumulative_sum(_cost(rows))
            fits = pc.sum(pc.less_equal(reached, self._room)).as_py() or 0
            self._head.append(rows.slice(0, fits))
            self._room = 0 if fits < rows.num_rows else self._room - reached[-1].as_py()
            rows = rows.slice(fits)
        if rows.num_rows:
            self._keep_end(rows)

    def _keep_end(self, rows: Any) -> None:
        """Add rows to the tail, and drop from its start what is too much; of that only the registers' state counts."""
        import pyarrow.compute as pc

        if self._tail is None:
            self._registers(_joined(self._head))
            self._tail = rows
        else:
            self._tail = _joined([self._tail, rows])
        reached = pc.cumulative_sum(_cost(self._tail))
        drop = pc.sum(pc.less_equal(reached, reached[-1].as_py() - self.kept)).as_py() or 0
        if drop:
            self.left_out += reached[drop - 1].as_py()
            self._registers(self._tail.slice(0, drop))
        self._tail = self._tail.slice(drop).combine_chunks()

    def _registers(self, rows: Any) -> None:
        control = _control(rows) if rows is not None else None
        if control is not None and control.num_rows:
            self._control = control.slice(max(control.num_rows - CONTROL, 0)).combine_chunks()

    def text(self, limit: int = LINES) -> Text:
        """The lines, at most ``limit`` of the start and ``limit`` of the end."""
        if self.left_out:
            start = self._lines(self._head)
            end = self._lines([self._control, self._tail])
        else:  # one text: a line may begin in the one part and end in the other
            whole = self._lines([*self._head, self._tail])
            start, end = (whole, []) if len(whole) <= 2 * limit else (whole[:limit], whole[limit:])
        dropped = [*start[limit:], *end[:-limit]] if end else []
        left_out = self.left_out + sum(len(line.text) + 1 for line in dropped)
        if end:
            start, end = start[:limit], end[-limit:]
        lines = (*start, *end)
        # A damaged trace may have any times; those that follow rely on their order.
        times = accumulate((line.t for line in lines), max, initial=0)
        next(times)
        shown = tuple(Printed(t, line.gap, _readable(line.text)) for t, line in zip(times, lines, strict=True))
        return Text(self.device, shown, len(start) if left_out else 0, left_out)

    def _lines(self, parts: list[Any]) -> list[Line]:
        rows = _joined([part for part in parts if part is not None])
        return [] if rows is None else Console(rows, self.devices, self.device).lines()


def _joined(parts: list[Any]) -> Any:
    import pyarrow as pa

    return pa.concat_tables(parts).unify_dictionaries() if parts else None


def _cost(rows: Any) -> Any:
    """What each row counts: the bytes it moved, at least one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.max_element_wise(pc.multiply(rows["count"].cast(pa.int64()), rows["size"].cast(pa.int64())), 1)


def _control(rows: Any) -> Any:
    """The rows that may write a line or modem control register; there are few of them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    offset = pc.bit_wise_and(rows["addr"], pa.scalar(7, pa.uint64()))
    last = pc.add(offset, rows["size"])
    return rows.filter(pc.and_(pc.less_equal(offset, MCR), pc.greater(last, LCR)))


def _readable(line: str) -> str:
    """A line without escape sequences and control characters, cut where it is very long."""
    text = ESCAPES.sub("", line[: 4 * WIDTH]).expandtabs(8).rstrip("\r")
    cut = "\N{HORIZONTAL ELLIPSIS}" if len(text) > WIDTH or len(line) > 4 * WIDTH else ""
    return printable(text[:WIDTH]) + cut
