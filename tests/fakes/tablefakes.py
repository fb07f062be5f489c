"""Tables beside the exits: one that no release has, and rows of any, made after its definition."""

import json

from tests.fakes.tracefakes import DEVICES, METADATA
from tracer.record.writer import TableWriter
from vmspec.trace import files, keys
from vmspec.trace.table import TIME, Column, Names, Table
from vmspec.trace.tables import TABLES

OTHER = Table(
    "other",
    what="other things",
    format="other-1",
    time="at",
    columns=(
        Column("at", "int64", "ns", "when the other thing was"),
        Column("kind", "int8", "", "what the other thing was", Names(("none", "byte"))),
        Column("device", "int16", "", "whose it was", Names(("-",), keys.DEVICES)),
        Column("vcpu", "uint16", "", "index of the vCPU that had it"),
        Column("moved", "binary", "bytes", "all bytes of it"),
        Column("size", "uint32", "bytes", "how many bytes it has"),
        Column("place", "uint64", "address", "where it was"),
    ),
    metadata=keys.kinds(keys.CLOCK),
    summary={"rows": "count", "lost": "counts", "complete": "flag", "way": "code"},
    switch="trace.other",
)


def known(monkeypatch, table=OTHER):
    """Have a table defined for the length of a test: these two rows are all that a new one needs."""
    monkeypatch.setitem(TABLES, table.name, table)
    monkeypatch.setitem(files.BESIDE, table.name, ())


def said(table, clock=METADATA[keys.CLOCK]):
    """The metadata of a table of a run of :mod:`tests.fakes.tracefakes`."""
    listed = {
        key: json.dumps(DEVICES if key == keys.DEVICES else [f"{key} {n}" for n in range(3)]) for key in table.keys
    }
    return {keys.CLOCK: clock, **listed}


def rows_of(table, count=9, vcpus=2):
    """Rows whose every value follows from its number."""
    metadata = said(table)
    return [
        {column.name: _value(table, column, number, vcpus, metadata) for column in table.columns}
        for number in range(count)
    ]


def _value(table, column, number, vcpus, metadata):
    if column.names is not None:
        listed = json.loads(metadata[column.names.key]) if column.names.key else []
        known = (*column.names.fixed, *listed)
        return known[number % len(known)]
    if column.type == TIME:
        return 1000 * number
    if column.name == "vcpu":
        return number % vcpus
    if column.type == "binary":
        return bytes(range(number))
    # Of the largest numbers, too: none may be a double on the way.
    return (
        (number, (1 << int(column.type.removeprefix("uint"))) - 1)[number % 2]
        if column.type.startswith("uint")
        else number
    )


def write_table(path, table, rows, summary=None, metadata=None):
    """Record rows of a table beside a trace."""
    writer = TableWriter(path, table, said(table) if metadata is None else metadata)
    for start in range(0, len(rows), 4):
        writer.append(rows[start : start + 4])
    return writer.finish({"rows": len(rows)} if summary is None else summary)
