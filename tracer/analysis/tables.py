"""Results with few rows, and their schemas: a row of a schema is (name, Arrow type, unit, doc)."""

from collections.abc import Sequence
from typing import Any

from tracer.decode import named
from tracer.decode.regions import Regions
from tracer.format.errors import TraceError

WHAT = "name of the port, register or MSR, as in `vmtrace events`; else its place"

ACCESS = ("reason", "addr", "size", "direction", "device", "region")

Columns = Sequence[tuple[str, str, str, str]]


def field(name: str, type_: Any, doc: str, unit: str = "", *, detail: bool = False) -> Any:
    """A ``pyarrow.Field`` of a result; ``unit`` is "ns", "bytes", "address", "share", "text" or "". A narrow terminal
    leaves a ``detail`` out."""
    import pyarrow as pa

    return pa.field(name, type_, metadata={"unit": unit, "doc": doc, **({"detail": "1"} if detail else {})})


def schema(columns: Columns) -> Any:
    """The ``pyarrow.Schema``; fields carry unit and doc as metadata."""
    import pyarrow as pa

    return pa.schema([field(name, pa.type_for_alias(kind), doc, unit) for name, kind, unit, doc in columns])


def table(columns: Columns, rows: Sequence[Sequence[Any]]) -> Any:
    """Rows of Python values as a ``pyarrow.Table`` of that schema. Raises TraceError for a number that does not fit."""
    import pyarrow as pa

    kinds = schema(columns)
    values = list(zip(*rows, strict=True)) or [()] * len(columns)
    try:
        arrays = [pa.array(column, field.type) for column, field in zip(values, kinds, strict=True)]
    except (pa.ArrowException, OverflowError) as error:
        raise TraceError(f"the trace is damaged: its times or counts are out of range ({error})") from error
    return pa.table(arrays, schema=kinds)


def named_schema(kinds: Any) -> Any:
    """A schema with the column ``what`` after ``addr``; the name implies ``reason``, which becomes a detail."""
    import pyarrow as pa

    what = field("what", pa.utf8(), WHAT, "text")
    at = kinds.get_field_index("reason")
    reason = kinds.field(at).with_metadata({**kinds.field(at).metadata, "detail": "1"})
    return kinds.set(at, reason).insert(kinds.get_field_index("addr") + 1, what)


def with_names(rows: Any, regions: Regions | Sequence[Regions] = Regions({})) -> Any:  # noqa: B008 (it never changes)
    """A table by reason, addr, direction and more, with the names of :func:`named_schema`. A column ``region`` serves
    only for these names. ``regions`` are those of the trace's devices, or for each row those of its own trace."""
    import pyarrow as pa

    names = access_names(rows, regions)
    if "region" in rows.column_names:
        rows = rows.drop_columns(["region"])
    kinds = named_schema(rows.schema)
    columns = {**{name: rows[name] for name in rows.column_names}, "what": pa.array(names, pa.utf8())}
    return pa.table([columns[name] for name in kinds.names], schema=kinds)


def access_names(rows: Any, regions: Regions | Sequence[Regions]) -> list[str]:
    """The name of what each row accesses, as ``vmtrace events`` has it, by those of the columns :data:`ACCESS` that it
    has; "" for rows of many addresses."""
    keys = [name for name in ACCESS if name in rows.column_names]
    each = [regions] * rows.num_rows if isinstance(regions, Regions) else regions
    places = zip(rows.select(keys).to_pylist(), each, strict=True)
    return [_name(row, own) if row["addr"] is not None else "" for row, own in places]


def _name(row: dict[str, Any], regions: Regions) -> str:
    region = row.pop("region", None)
    return named(**row, within="" if region is None else regions.place(row["device"], region, row["addr"]))
