"""Result tables as the cells of HTML tables."""

from typing import Any

from attrs import frozen

from tracer.output import cell

TOP = 25  # rows shown of a table

# Column to its unit, heading and meaning.
COLUMNS = {
    "reason": ("", "reason", "KVM exit reason"),
    "device": ("", "device", "the device that claims the address, - where none does"),
    "addr": ("address", "address", "port, guest-physical address or MSR"),
    "direction": ("", "access", "what the guest does"),
    "size": ("bytes", "size", "bytes of one item"),
    "rip": ("address", "RIP", "where in the guest"),
    "symbol": ("", "symbol", "what stands there"),
    "exits": ("", "exits", "exits to the VMM"),
    "share": ("share", "of all", "share of all exits"),
    "bytes": ("", "bytes", "bytes moved"),
    "handler_ns": ("ns", "handling", "time from KVM_RUN's return to its next call, in all"),
    "mean_ns": ("ns", "mean", "handling of one exit, on average"),
    "longest_ns": ("ns", "longest", "the longest handling of one exit"),
}


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


def described(table: Any, total: int) -> Any:
    """The first rows of a tally's table (see :data:`tracer.analysis.tally.EXITS`), with each group's share of ``total``
    exits and mean handling, and units in its fields' metadata. None of None."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if table is None:
        return None
    exits = table["exits"].cast(pa.float64())
    columns = {
        **{name: table[name] for name in table.column_names if name in COLUMNS and name not in ("longest_ns",)},
        "mean_ns": pc.divide(table["handler_ns"].cast(pa.float64()), exits),
        "longest_ns": table["longest_ns"],
    }
    names = list(columns)
    names.insert(names.index("exits") + 1, "share")
    columns["share"] = pc.divide(exits, float(max(total, 1)))
    fields = [
        pa.field(name, columns[name].type, metadata={"unit": COLUMNS[name][0], "doc": COLUMNS[name][2]})
        for name in names
    ]
    return pa.Table.from_arrays([columns[name] for name in names], schema=pa.schema(fields))


def shown(table: Any, limit: int = TOP) -> Cells:
    """A table's cells."""
    import pyarrow as pa

    columns = []
    for field in table.schema:
        number = pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
        columns.append(Column(COLUMNS[field.name][1], COLUMNS[field.name][2], number))
    units = [COLUMNS[field.name][0] for field in table.schema]
    rows = tuple(
        tuple(cell(value, unit) for value, unit in zip(row.values(), units, strict=True))
        for row in table.slice(0, limit).to_pylist()
    )
    return Cells(tuple(columns), rows, max(table.num_rows - limit, 0))
