"""The machine's inputs from outside: the table of inputs, counted and in order."""

from typing import Any

from tracer.analysis.tables import schema
from tracer.read.tablefile import TableFile


def schemas() -> dict[str, Any]:
    """The schemas of the tables, by their names in `vmtrace inputs`."""
    return {"kinds": kinds_schema(), "inputs": inputs_schema()}


def kinds_schema() -> Any:
    """The schema of :func:`by_kind`."""
    return schema(
        (
            ("kind", "string", "", "bytes, timer, interrupt, pause, resume, command, mark or end"),
            ("device", "string", "", "device that received the input, or that interrupts"),
            ("inputs", "int64", "", "number of inputs"),
            ("bytes", "int64", "bytes", "number of host bytes"),
            ("first_ns", "int64", "ns", "time of the first, since the start"),
            ("last_ns", "int64", "ns", "time of the last, since the start"),
        )
    )


def inputs_schema() -> Any:
    """The schema of :func:`listed`."""
    return schema(
        (
            ("t_ns", "int64", "ns", "when, since the machine started"),
            ("vcpu", "uint16", "", "index of the vCPU whose exits seq counts"),
            (
                "seq",
                "int64",
                "number",
                "exits that the vCPU had completed: the input came before exit seq was complete",
            ),
            ("kind", "string", "", "bytes, timer, interrupt, pause, resume, command, mark or end"),
            ("device", "string", "", "device that received the input, or that interrupts"),
            (
                "value",
                "uint8",
                "",
                "interrupt: 1 rises, 0 falls, 2 an edge or a message; bytes: the device's port; else 0",
            ),
            ("data", "binary", "bytes", "the host's bytes; for an end its kind, for a command its words"),
            ("text", "string", "text", "data as text, with escapes for bytes that are not UTF-8"),
        )
    )


def by_kind(inputs: TableFile) -> Any:
    """The number of inputs of each kind for each device: a ``pyarrow.Table`` of :func:`kinds_schema`, earliest
    first."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = listed(inputs)
    host = pc.if_else(pc.equal(rows["kind"], "bytes"), pc.binary_length(rows["data"]), 0)
    grouped = (
        rows.append_column("bytes", host)
        .group_by(["kind", "device"])
        .aggregate([("t_ns", "count"), ("bytes", "sum"), ("t_ns", "min"), ("t_ns", "max")])
    )
    names = ("kind", "device", "t_ns_count", "bytes_sum", "t_ns_min", "t_ns_max")
    counted = pa.table([grouped[name] for name in names], names=kinds_schema().names)
    return counted.cast(kinds_schema()).sort_by("first_ns")


def listed(inputs: TableFile) -> Any:
    """All inputs in order: a ``pyarrow.Table`` of :func:`inputs_schema`."""
    import pyarrow as pa

    rows = inputs.table.drop_columns(["clock"])
    text = pa.array((data.decode(errors="backslashreplace") for data in rows["data"].to_pylist()), pa.utf8())
    named = rows.append_column("text", text).rename_columns(inputs_schema().names)
    return named.cast(inputs_schema()).sort_by("t_ns")
