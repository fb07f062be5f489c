"""Exits as lines for people and as JSON lines, a batch of a trace at a time.

A column's texts are made once for each different value of a batch and laid out by Arrow. That is several times as fast
as a line at a time in Python.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from json.encoder import encode_basestring_ascii
from typing import Any, NamedTuple

from attrs import field, frozen

from tracer.analysis.where import Filter
from tracer.decode.batches import Describer, pieces, selects
from tracer.decode.regions import Regions
from tracer.format.errors import TraceError
from tracer.format.jsonvalues import converter
from tracer.format.schema import flag_names
from tracer.format.vocabulary import EXIT, FORMER, HEXADECIMAL, heading, nearest
from tracer.read.reader import Trace
from tracer.show.output import COARSEST, ROUNDING, cut, duration
from vmspec.host.printable import printable
from vmspec.trace.record import FLAGS

# Columns of a line: width, aligned right or not. Others can be selected.
READABLE = {  # 100 columns
    "t_exit": (11, True),
    "vcpu": (4, True),
    "reason": (6, False),
    "what": (18, False),
    "rw": (2, False),
    "value": (18, False),
    "handling_ns": (8, True),
    "rip": (16, False),
    "flags": (9, False),
}
# The same for 79 columns: without the reason, which `what` and `rw` imply, with times in microseconds, and with an
# ellipsis for the ffffffff that a kernel's addresses begin with.
SHORT = {
    "t_exit": (9, True),
    "vcpu": (4, True),
    "what": (16, False),
    "rw": (2, False),
    "value": (15, False),
    "handling_ns": (8, True),
    "rip": (9, False),
    "flags": (9, False),
}
WIDER = {"what": 10, "value": 22}  # the width that these columns can use beyond READABLE
KERNEL = re.compile("^ffffffff(?=.{8}$)")
_WIDTHS = {"uint8": 4, "uint16": 5, "uint32": 5, "uint64": 18, "int64": 14}
_UNITS = {column.name: column.unit for column in EXIT}
# Flags that a line shows elsewhere, or that concern only the record.
_UNSHOWN = ("RIP", "PAYLOAD")
_SECOND = 10**9


class Cells(NamedTuple):
    """A column of texts: ``texts[code]`` for each code of an int32 array; without codes, an array of ASCII texts."""

    codes: Any
    texts: Any

    def array(self, texts: Sequence[str] | None = None) -> Any:
        """A utf8 array of all rows; ``texts`` replace its own if given."""
        import pyarrow as pa

        return self.texts if self.codes is None else pa.array(texts or self.texts, pa.utf8()).take(self.codes)

    def lengths(self) -> Any:
        """The number of characters in each row: an int32 array."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if self.codes is None:
            return pc.binary_length(self.texts)
        return pa.array(list(map(len, self.texts)), pa.int32()).take(self.codes)

    def longest(self) -> int:
        """The number of characters of the longest text; 0 if there is none."""
        import pyarrow.compute as pc

        if self.codes is None:
            longest: int | None = pc.max(pc.binary_length(self.texts)).as_py()
            return longest or 0
        return max(map(len, self.texts), default=0)


def described(
    batches: Iterable[Any],
    where: Filter | None = None,
    machines: Mapping[int, str] | None = None,
    regions: Regions = Regions({}),  # noqa: B008 (it never changes)
) -> Iterator[Any]:
    """The rows of batches in a trace's order, with the columns of :data:`tracer.format.vocabulary.DERIVED`, as batches;
    only rows that match a filter. ``machines``, ``regions``: see :class:`tracer.decode.batches.Describer`.

    Raises TraceError for times so far apart that their difference overflows.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    describer = Describer(machines, regions)
    try:
        for batch in (piece for whole in batches for piece in pieces(whole)):
            if where is None or where.decoded:
                found = describer.described(batch)
                yield found if where is None else where.apply(found)
                continue
            mask = where.mask(batch)
            # Rows that are not shown may still set the state for those that are.
            needed = batch.append_column("shown", mask).filter(pc.or_(mask, selects(batch)))
            found = describer.described(needed)
            yield found.filter(found["shown"]).select([name for name in found.schema.names if name != "shown"])
    except pa.ArrowInvalid as error:
        raise TraceError(f"the trace is damaged: its times are out of range ({error})") from error


def why_none(trace: Trace, where: Filter, machines: Mapping[int, str] | None = None) -> str:
    """The message for a filter without matches: how many rows match each of the conditions that it joins by and."""
    counts = [0] * len(where.parts)
    rows = 0
    regions = Regions(trace.metadata)
    plain = trace.batches(where.columns or ("seq",))
    for batch in described(trace.batches(), None, machines, regions) if where.decoded else plain:
        rows += batch.num_rows
        for number, part in enumerate(where.parts):
            counts[number] += part.mask(batch).true_count
    each = "; ".join(f"{part.text}: {count:,}" for part, count in zip(where.parts, counts, strict=True))
    none = f"no exit of {rows:,} matches"
    return none + (f" all of it; {each}" if len(where.parts) > 1 else "")


@frozen
class Lines:
    """Turns batches of :func:`described` into lines with the chosen columns. Raises TraceError for an unknown column.

    ``width`` is the terminal's, which no line exceeds; None gives lines of any length. Without ``columns`` they are
    those of READABLE that fit.
    """

    columns: Sequence[str] = ()
    width: int | None = None
    _short: bool = field(init=False)
    # Of each column: its width, where it ends in the line, whether it is aligned right.
    _places: Sequence[tuple[int, int, bool]] = field(init=False)

    def __attrs_post_init__(self) -> None:
        known = [column.name for column in EXIT]
        names = [FORMER.get(name, name) for name in self.columns]
        for name in names:
            if name not in known:
                raise TraceError(f"there is no column {printable(name)!r}; {nearest(name, known)}")
        shapes = {name: READABLE.get(name) or _shape(name) for name in names} or _fitting(self.width)
        names = names or list(shapes)
        ends = accumulate((shapes[name][0] + 1 for name in names), initial=-1)
        next(ends)
        short = not self.columns and self.width is not None and self.width < _total(READABLE)
        object.__setattr__(self, "columns", tuple(names))
        object.__setattr__(self, "_short", short)
        object.__setattr__(self, "_places", [(shapes[name][0], end, shapes[name][1]) for name, end in zip(names, ends)])  # noqa: B905

    def head(self) -> str:
        """The heading above the first line."""
        return self.joined([heading(name) for name in self.columns])

    def text(self, batch: Any) -> str:
        """A line for each row, each with its newline."""
        import pyarrow.compute as pc

        cells = [_cells(batch, name, self._short) for name in self.columns]
        pieces = []
        beyond = None  # how far each line is past its columns' places; None: no line is
        for cell, (width, _, right) in zip(cells, self._places, strict=True):
            pieces.append(_aligned(cell, width, right, beyond))
            beyond = _beyond(cell, width, beyond)
        lines = pc.ascii_rtrim(pc.binary_join_element_wise(*pieces, " "), " ")
        if self.width is not None:
            lines = self._narrowed(lines, cells)
        return _joined(pc.binary_join_element_wise(lines, "", "\n"))

    def _narrowed(self, lines: Any, cells: Sequence[Cells]) -> Any:
        """The lines, with those wider than the terminal laid out again, one by one."""
        import pyarrow as pa
        import pyarrow.compute as pc

        wide = pc.or_(
            pc.greater(pc.utf8_length(lines), pa.scalar(self.width, pa.int32())),
            pc.not_equal(pc.utf8_length(lines), pc.binary_length(lines)),
        )
        rows = pc.indices_nonzero(wide)
        if not len(rows):
            return lines
        texts = zip(*(cell.array().take(rows).to_pylist() for cell in cells), strict=True)
        return pc.replace_with_mask(lines, wide, pa.array([self.joined(text) for text in texts], pa.utf8()))

    def joined(self, texts: Sequence[str]) -> str:
        """One line; after a text that is too long, the next ones return to their places if the line has room."""
        line = self._placed(texts)
        if self.width is None or (len(line) <= self.width and line.isascii()):
            return line
        from rich.cells import cell_len

        if cell_len(line) > self.width:
            line = self._placed([cut(text, width) for text, (width, *_) in zip(texts, self._places, strict=True)])
        return cut(line, self.width)

    def _placed(self, texts: Sequence[str]) -> str:
        line = ""
        for text, (_, end, right) in zip(texts, self._places, strict=True):
            room = end - len(line)
            line += (text.rjust(room) if right else text.ljust(room)) + " "
        return line.rstrip(" ")


def json_lines(batch: Any) -> str:
    """A JSON object for each row of a batch of :func:`described`, each with its newline; see
    :mod:`tracer.format.jsonvalues`."""
    import pyarrow.compute as pc

    pieces: list[Any] = []
    for column in EXIT:
        before = f'{", " if pieces else "{"}"{column.name}": '
        if column.type in ("int64", "uint64") and column.unit not in HEXADECIMAL:
            pieces += [before, batch[column.name].cast("string")]
        else:
            encode = _encoder(batch[column.name].type, column.unit)
            pieces.append(_coded(batch[column.name], lambda value: before + encode(value)).array())  # noqa: B023
    return _joined(pc.binary_join_element_wise(*pieces, "}\n", ""))


def _encoder(type_: Any, unit: str) -> Callable[[Any], str]:
    """The function that makes the JSON text of a column's value; for texts and numbers faster than ``json.dumps``."""
    import pyarrow as pa

    if pa.types.is_dictionary(type_):
        return encode_basestring_ascii
    if unit in HEXADECIMAL:
        return lambda value: f'"{value:#x}"'
    convert = converter(type_, unit)
    return lambda value: json.dumps(convert(value))


def _joined(lines: Any) -> str:
    """All texts of a utf8 array as one."""
    if not len(lines):
        return ""
    _, offsets, data = lines.buffers()
    first, last = (memoryview(offsets).cast("i")[lines.offset + at] for at in (0, len(lines)))
    return str(memoryview(data)[first:last], "utf-8")


def _aligned(cells: Cells, width: int, right: bool, beyond: Any) -> Any:
    """A column's texts padded to its width, minus the distance that the lines are past its place."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if beyond is None:
        if cells.codes is not None:
            return cells.array([text.rjust(width) if right else text.ljust(width) for text in cells.texts])
        return pc.ascii_lpad(cells.texts, width) if right else pc.ascii_rpad(cells.texts, width)
    room = pc.max_element_wise(pc.subtract(pa.scalar(width, pa.int32()), pc.add(beyond, cells.lengths())), 0)
    blanks = pa.array([" " * count for count in range(width + 1)], pa.utf8()).take(room)
    pieces = (blanks, cells.array()) if right else (cells.array(), blanks)
    return pc.binary_join_element_wise(*pieces, "")


def _beyond(cells: Cells, width: int, beyond: Any) -> Any:
    """How far the lines are past their next column's place, None if no line is."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if beyond is None and cells.longest() <= width:
        return None
    past = pc.subtract(cells.lengths(), pa.scalar(width, pa.int32()))
    past = pc.max_element_wise(past if beyond is None else pc.add(past, beyond), pa.scalar(0, pa.int32()))
    return past if pc.max(past).as_py() else None


def _cells(batch: Any, name: str, short: bool) -> Cells:
    """The texts of a column; ``short`` as in SHORT."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = batch[name]
    match name:
        case "t_exit" | "t_entry":
            return Cells(None, _seconds(column, 6 if short else 9))
        case "handling_ns":
            return _coded(_rounded(column), duration)
        case "rip":
            known = pc.bit_wise_and(batch["flags"], pa.scalar(FLAGS["RIP"], pa.uint16())).cast(pa.bool_())
            return _coded(pc.if_else(known, column, pa.scalar(None, pa.uint64())), _short_rip if short else _rip)
        case "flags":
            return _coded(column, _shown_flags)
        case "payload":
            return _coded(column, bytes.hex)
        case _ if _UNITS[name] in HEXADECIMAL:
            return _coded(column, hex)
        case "seq":  # all of them different
            return Cells(None, column.cast(pa.utf8()))
    return _coded(column, lambda value: printable(str(value)))


def _coded(column: Any, text: Callable[[Any], str]) -> Cells:
    """The texts of a column with many equal values."""
    import pyarrow as pa

    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode(null_encoding="encode")
    return Cells(column.indices.cast(pa.int32()), [text(value) for value in column.dictionary.to_pylist()])


def _seconds(times: Any, digits: int) -> Any:
    """Times in ns as seconds with that many digits, never rounded up: a utf8 array."""
    import pyarrow as pa
    import pyarrow.compute as pc

    scale = 10**digits
    whole = pc.divide(times, pa.scalar(_SECOND, pa.int64()))
    below = pc.less(pc.subtract(times, pc.multiply(whole, pa.scalar(_SECOND, pa.int64()))), pa.scalar(0, pa.int64()))
    whole = pc.subtract(whole, below.cast(pa.int64()))  # times before 0
    part = pc.subtract(times, pc.multiply(whole, pa.scalar(_SECOND, pa.int64())))
    part = pc.add(pc.divide(part, pa.scalar(_SECOND // scale, pa.int64())), pa.scalar(scale, pa.int64()))
    seconds = _coded(whole, str).array()
    return pc.binary_join_element_wise(seconds, pc.utf8_slice_codeunits(part.cast(pa.utf8()), 1), ".")


def _rounded(durations: Any) -> Any:
    """Durations rounded like their texts, so that fewer are different."""
    import pyarrow as pa
    import pyarrow.compute as pc

    steps = pa.array([step for _, step in ROUNDING] + [COARSEST], pa.int64())
    above = [pc.greater_equal(durations, pa.scalar(limit, pa.int64())).cast(pa.int8()) for limit, _ in ROUNDING]
    number = above[0]
    for more in above[1:]:
        number = pc.add(number, more)
    step = steps.take(number)
    # Values in the last half step of int64 are not rounded: they would wrap around.
    near = pc.less(durations, pa.scalar((1 << 63) - COARSEST, pa.int64()))
    up = pc.add(durations, pc.divide(step, pa.scalar(2, pa.int64())))
    return pc.if_else(near, pc.subtract(up, _modulo(up, step)), durations)


def _modulo(values: Any, by: Any) -> Any:
    """The remainders of values; 0 for negative ones, which are not rounded."""
    import pyarrow.compute as pc

    return pc.subtract(values, pc.multiply(pc.divide(values, by), by))


def _rip(rip: int | None) -> str:
    return "-" if rip is None else f"{rip:x}"


def _short_rip(rip: int | None) -> str:
    return KERNEL.sub("\N{HORIZONTAL ELLIPSIS}", _rip(rip))


@lru_cache
def _shown_flags(flags: int) -> str:
    return " ".join(name for name in flag_names(flags) if name not in _UNSHOWN)


def _shape(name: str) -> tuple[int, bool]:
    """Width of a column, and whether it is aligned right."""
    type_ = next(column.type for column in EXIT if column.name == name)
    return (_WIDTHS[type_], True) if type_ in _WIDTHS else (12, False)


def _fitting(width: int | None) -> dict[str, tuple[int, bool]]:
    """The columns that fit in a line of ``width``; the last ones are left out first."""
    shapes = dict(READABLE)
    if width is None:
        return shapes
    more = width - _total(READABLE)
    if more < 0:
        shapes = dict(SHORT)
        while _total(shapes) > width and len(shapes) > 1:
            shapes.popitem()
        return shapes
    for name, most in WIDER.items():
        extra = min(most, more)
        more -= extra
        shapes[name] = (shapes[name][0] + extra, False)
    return shapes


def _total(shapes: Mapping[str, tuple[int, bool]]) -> int:
    return sum(width + 1 for width, _ in shapes.values()) - 1
