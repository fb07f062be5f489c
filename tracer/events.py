"""Exits as lines that people read: what each was about, what its value said, how long it took."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache
from itertools import accumulate
from typing import Any

from attrs import field, frozen

from tracer.analysis.where import Filter
from tracer.decode import Decoder, first_item
from tracer.decode.decoder import READ_ONCE, STATE_ADDRESSES, STATE_PORTS
from tracer.errors import TraceError
from tracer.output import cut, duration
from tracer.rowfile import dicts
from tracer.schema import flag_names
from vmspec.printable import printable
from vmspec.record import COLUMNS, FLAGS

# Columns of a line: width, aligned right or not. The others of the trace can be asked for as well.
READABLE = {  # 100 columns
    "time": (11, True),
    "vcpu": (4, True),
    "reason": (6, False),
    "what": (18, False),
    "rw": (2, False),
    "value": (18, False),
    "handling": (8, True),
    "rip": (16, False),
    "flags": (9, False),
}
# The same where there is less room, 79 columns: without the reason, which `what` and `rw` say too, with times in
# microseconds, and with an ellipsis for the ffffffff that a kernel's addresses begin with.
SHORT = {
    "time": (9, True),
    "vcpu": (4, True),
    "what": (16, False),
    "rw": (2, False),
    "value": (15, False),
    "handling": (8, True),
    "rip": (9, False),
    "flags": (9, False),
}
WIDER = {"what": 10, "value": 22}  # what these columns can use beyond READABLE
KERNEL = re.compile("^ffffffff(?=.{8}$)")
_WIDTHS = {"uint8": 4, "uint16": 5, "uint32": 5, "uint64": 18, "int64": 14}
_HEXADECIMAL = ("rip", "addr", "data")
# What `flags` says elsewhere in a line, or of the record only.
_UNSHOWN = ("RIP", "PAYLOAD")
_PAYLOAD_SHOWN = 16  # bytes


@frozen
class Lines:
    """Turns batches into lines with the chosen columns; raises TraceError for a column that there is not.

    ``width`` is the terminal's, which no line exceeds; None gives lines of any length. Without ``columns`` they are
    those of READABLE that there is room for.
    """

    columns: Sequence[str] = ()
    width: int | None = None
    # Of each column: what gives its text, its width, where in the line it ends, whether it is aligned right.
    _cells: Sequence[tuple[Callable[[dict[str, Any]], str], int, int, bool]] = field(init=False)

    def __attrs_post_init__(self) -> None:
        known = [*READABLE, *(column.name for column in COLUMNS if column.name not in READABLE)]
        for name in self.columns:
            if name not in known:
                near = get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"
                raise TraceError(f"there is no column {printable(name)!r}; {hint}")
        shapes = {name: READABLE.get(name) or _shape(name) for name in self.columns} or _fitting(self.width)
        short = not self.columns and self.width is not None and self.width < _total(READABLE)
        names = self.columns or tuple(shapes)
        ends = accumulate((shapes[name][0] + 1 for name in names), initial=-1)
        next(ends)
        cells = [
            (_text(name, short), shapes[name][0], end, shapes[name][1]) for name, end in zip(names, ends, strict=True)
        ]
        object.__setattr__(self, "columns", names)
        object.__setattr__(self, "_cells", cells)

    def head(self) -> str:
        """The line above the first."""
        return self._joined(self.columns)

    def line(self, row: dict[str, Any]) -> str:
        """An exit, as :func:`exits` gives it."""
        return self._joined([text(row) for text, *_ in self._cells])

    def _joined(self, texts: Sequence[str]) -> str:
        """A line; after a text that is too long, the next ones find back to their places, if the line has the room."""
        line = self._placed(texts)
        if self.width is None or (len(line) <= self.width and line.isascii()):
            return line
        from rich.cells import cell_len

        if cell_len(line) > self.width:
            line = self._placed([cut(text, width) for text, (_, width, *_) in zip(texts, self._cells, strict=True)])
        return cut(line, self.width)

    def _placed(self, texts: Sequence[str]) -> str:
        line = ""
        for text, (_, _, end, right) in zip(texts, self._cells, strict=True):
            room = end - len(line)
            line += (text.rjust(room) if right else text.ljust(room)) + " "
        return line.rstrip()


def _fitting(width: int | None) -> dict[str, tuple[int, bool]]:
    """The columns that a line of ``width`` has room for: where there is little, the last ones are left out."""
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


def exits(
    batches: Iterable[Any], where: Filter | None = None, machines: Mapping[int, str] | None = None
) -> Iterator[dict[str, Any]]:
    """The rows of batches in a trace's order, as dictionaries of all columns; only those that a filter lets through.

    Added are ``handling`` (t_entry - t_exit, in ns), ``what``, the name of the port, register or MSR, and ``meaning``,
    what the value says; the last two are "" where nothing is known. ``machines`` gives the machine of each vCPU of a
    merged trace, for registers have a state in each.
    """
    decoders: dict[str, Decoder] = {}
    for batch in batches:
        for row in _wanted(batch, where):
            shown = row.pop("shown", True)
            row["handling"] = row["t_entry"] - row["t_exit"]
            decoder = decoders.setdefault(machines.get(row["vcpu"], "") if machines else "", Decoder())
            row["what"], row["meaning"] = decoder.decode(
                row["reason"], row["addr"], row["size"], row["direction"], first_item(row), row["device"]
            )
            if row["flags"] & FLAGS["UNCLAIMED"] and row["direction"] == "read":
                row["meaning"] = ""  # all ones, because nobody answered
            if shown:
                yield row


def _wanted(batch: Any, where: Filter | None) -> Iterator[dict[str, Any]]:
    """Rows that are shown, and those that the decoder has to see."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if where is not None:
        mask = where.mask(batch)
        places = pa.array([*STATE_PORTS, *STATE_ADDRESSES], pa.uint64())
        writes = pc.equal(batch["direction"].cast(pa.utf8()), "write")
        once = pc.equal(batch["addr"], pa.scalar(READ_ONCE, pa.uint64()))
        setting = pc.and_(pc.is_in(batch["addr"], places), pc.or_(writes, once))
        batch = batch.append_column("shown", mask).filter(pc.or_(mask, setting))
    return dicts(batch)


def _text(name: str, short: bool) -> Callable[[dict[str, Any]], str]:
    """What makes a column's text of a row; ``short`` as SHORT has it."""
    match name:
        case "time" if short:
            return lambda row: "{}.{:06d}".format(*divmod(row["t_exit"] // 1000, 10**6))
        case "rip" if short:
            return lambda row: (
                KERNEL.sub("\N{HORIZONTAL ELLIPSIS}", f"{row['rip']:x}") if row["flags"] & FLAGS["RIP"] else "-"
            )
        case "time":
            return lambda row: "{}.{:09d}".format(*divmod(row["t_exit"], 10**9))
        case "what":
            return lambda row: printable(row["what"]) if row["what"] else _place(row)
        case "rw":
            return lambda row: {"read": "r", "write": "w"}.get(row["direction"], "")
        case "value":
            return _value
        case "handling":
            return lambda row: duration(row["handling"])
        case "rip":
            return lambda row: f"{row['rip']:x}" if row["flags"] & FLAGS["RIP"] else "-"
        case "flags":
            return lambda row: _shown_flags(row["flags"])
        case "payload":
            return lambda row: bytes(row["payload"]).hex()
        case _ if name in _HEXADECIMAL:
            return lambda row: f"{row[name]:#x}"
    return lambda row: printable(str(row[name]))


@lru_cache
def _shown_flags(flags: int) -> str:
    return " ".join(name for name in flag_names(flags) if name not in _UNSHOWN)


def _place(row: dict[str, Any]) -> str:
    """Where an access went that has no better name."""
    match row["reason"]:
        case "io":
            place = f"port {row['addr']:#x}"
        case "mmio":
            place = f"{row['addr']:#x}"
        case "unknown":  # to this version of vmrun
            return f"KVM exit {row['addr']}"
        case _:
            return ""
    return place if row["device"] == "-" else f"{printable(row['device'])} {place}"


def _value(row: dict[str, Any]) -> str:
    """The value in hexadecimal, as wide as the item, and what it says; of several items how many, and their bytes."""
    if row["direction"] == "none" or row["count"] == 0:
        return f"{row['data']:#x}" if row["data"] else ""
    if row["count"] > 1:
        data = row["payload"] or row["data"].to_bytes(8, "little")[: row["size"] * row["count"]]
        more = "..." if len(data) > _PAYLOAD_SHOWN else ""
        return f"{row['count']} x {row['size']}: {bytes(data[:_PAYLOAD_SHOWN]).hex()}{more}"
    value = f"{first_item(row):#0{2 + 2 * min(row['size'], 8)}x}"
    return f"{value} {printable(row['meaning'])}" if row["meaning"] else value


def _shape(name: str) -> tuple[int, bool]:
    """Width of a trace's own column, and whether it is aligned right."""
    type_ = next(column.type for column in COLUMNS if column.name == name)
    return (_WIDTHS[type_], True) if type_ in _WIDTHS else (12, False)
