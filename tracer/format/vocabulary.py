"""The names of an exit's columns, everywhere: in lines, JSON, CSV, filters and SQL.

The trace's own columns have the names of :data:`vmspec.trace.record.COLUMNS`. :mod:`tracer.show.events` computes those
of :data:`DERIVED` from them. A time has its unit in its name (``handling_ns``), except the two times of the trace. A
heading of a text column leaves ``_ns`` out, because each cell shows its own unit; ``_share`` becomes %.
"""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any

from vmspec.trace.record import COLUMNS
from vmspec.trace.table import Column

DERIVED = (
    Column("handling_ns", "int64", "ns", "t_entry - t_exit: how long vmrun handled the exit"),
    Column("what", "utf8", "", "name of the port, register or MSR; else the place of the access; else empty"),
    Column("rw", "utf8", "", "direction as a letter: r, w, or empty"),
    Column("meaning", "utf8", "", "the decoded value; empty if vmtrace cannot decode it"),
    Column("value", "utf8", "", "the value and its meaning; for several items their number, size and bytes"),
)
_DECODING = ("vcpu", "reason", "addr", "size", "direction", "data", "device", "region")
# The columns of the trace from which each is computed.
SOURCES = {
    "handling_ns": ("t_exit", "t_entry"),
    "what": _DECODING,
    "rw": ("direction",),
    "meaning": (*_DECODING, "count", "flags"),
    "value": (*_DECODING, "count", "flags", "payload"),
}
# Names are texts here; a trace stores codes.
EXIT = (*(column if column.names is None else column._replace(type="utf8") for column in COLUMNS), *DERIVED)
# Names of the previous release, which filters and --columns still accept.
FORMER = {"time": "t_exit", "handling": "handling_ns"}
UNITS = {
    "ns": "nanoseconds; tables show durations, and t_exit and t_entry in seconds; --where takes 5us, 1.5ms, 2s",
    "address": "an address; hexadecimal, and a string in JSON",
    "hex": "a value of bits; hexadecimal, and a string in JSON",
    "flags": "names of bits: a list in JSON, true or false in --where",
    "share": "a fraction of 1; tables show per cent",
    "bytes": "bytes",
    "text": "text, cut on a narrow terminal",
    "number": "a number counted from 0",
}
HEXADECIMAL = ("address", "hex")  # units of numbers written in hexadecimal


def plain_schema(columns: Iterable[Column]) -> Any:
    """The ``pyarrow.Schema`` of columns as commands show them: names are texts; fields carry unit and doc."""
    import pyarrow as pa

    return pa.schema(
        [
            pa.field(
                column.name,
                pa.utf8() if column.names is not None else pa.type_for_alias(column.type),
                metadata={"unit": column.unit, "doc": column.doc},
            )
            for column in columns
        ]
    )


def heading(name: str) -> str:
    """The heading of a column of texts that show their own units."""
    return name.removesuffix("_ns") if not name.endswith("_share") else name.removesuffix("_share") + "%"


def unit(field: Any) -> str:
    """The unit of a field of an Arrow schema, one of :data:`UNITS`, or ""."""
    return str((field.metadata or {}).get(b"unit", b""), "utf-8")


def nearest(word: str, known: Sequence[str], most: int | None = None) -> str:
    """A hint at the right word: the nearest one, else the known ones, or ``most`` of them."""
    folded = {name.casefold(): name for name in known}
    near = get_close_matches(word.casefold(), folded, n=1, cutoff=0.5)
    there = ", ".join(known[:most]) + (", ..." if most is not None and len(known) > most else "")
    return f"did you mean {folded[near[0]]!r}?" if near else f"there are: {there}"
