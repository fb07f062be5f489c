"""Result tables as the cells of HTML tables."""

from collections.abc import Callable
from typing import Any

from attrs import frozen

from tracer.format.vocabulary import heading, unit
from tracer.show.output import cell, without_details

TOP = 25  # rows shown of a table

# From a guest address to its name, None without one.
Symbols = Callable[[int], str | None]


@frozen
class Column:
    """A heading: ``number`` columns are aligned to the right."""

    head: str
    doc: str
    number: bool


@frozen
class Cells:
    """A table of texts; ``more`` rows are not shown."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    more: int


def described(table: Any, symbols: Symbols | None = None, most: int = TOP) -> Cells:
    """The first ``most`` rows of an analysis's table as cells, with headings and their meaning from its schema. After a
    RIP comes its name from ``symbols``, if any RIP has one."""
    import pyarrow as pa

    shown = without_details(table.slice(0, most))
    columns = [
        Column(
            heading(field.name),
            field.metadata.get(b"doc", b"").decode(),
            pa.types.is_integer(field.type) or pa.types.is_floating(field.type),
        )
        for field in shown.schema
    ]
    units = [unit(field) for field in shown.schema]
    rows = [[cell(value, of) for value, of in zip(row.values(), units, strict=True)] for row in shown.to_pylist()]
    if symbols is not None and "rip" in shown.column_names:
        at = shown.column_names.index("rip") + 1
        names = [symbols(rip) if rip is not None else None for rip in shown["rip"].to_pylist()]
        if any(names):
            columns.insert(at, Column("symbol", "the symbol at this address", False))
            for row, name in zip(rows, names, strict=True):
                row.insert(at, name or "")
    return Cells(tuple(columns), tuple(map(tuple, rows)), table.num_rows - shown.num_rows)
