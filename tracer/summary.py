"""What a trace says, in numbers: a pure function from the table and the closing summary to :class:`Summary`."""

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from tracer.console import Console, Line
from tracer.counters import Counters, reconcile
from vmspec.record import FLAGS


@frozen
class Exits:
    """Exits of one kind. ``handler_ns`` is the time from their t_exit to their t_entry in all, ``longest_ns`` the
    longest of them; ``bytes`` is what they moved."""

    exits: int
    bytes: int
    handler_ns: int
    longest_ns: int


@frozen
class ByReason(Exits):
    """Exits of one reason."""

    reason: str


@frozen
class ByDevice(Exits):
    """Exits that one device claims; "-" where none does."""

    device: str


@frozen
class ByAddress(Exits):
    """Exits of one reason at one port, address or MSR, of one direction and item size in bytes."""

    device: str
    reason: str
    addr: int
    direction: str
    size: int


@frozen
class ByVcpu:
    """Where the time of one vCPU went, in ns.

    From time 0 to ``first_ns``, its first exit, it was in the guest or waiting to be started. From then to its last
    row it was ``guest_ns`` in KVM_RUN and ``handler_ns`` in vmrun; ``hlt_ns`` of the latter is the handling of hlt
    exits, in which the vCPU is idle. ``halted_ns`` is what the kernel counted as halted in all its KVM_RUN, None
    where the host does not tell.
    """

    vcpu: int
    exits: int
    first_ns: int
    guest_ns: int
    handler_ns: int
    hlt_ns: int
    halted_ns: int | None


@frozen
class Summary:
    """The whole. Tuples are ordered by exits, most first; ``vcpus`` by index; ``lines`` by time.

    ``notes`` are sentences: how the rows reconcile with the run's and KVM's own counts, and what the trace lacks.
    """

    rows: int
    complete: bool
    duration_ns: int
    result: Mapping[str, Any]
    reasons: tuple[ByReason, ...]
    devices: tuple[ByDevice, ...]
    addresses: tuple[ByAddress, ...]
    unclaimed: tuple[ByAddress, ...]
    vcpus: tuple[ByVcpu, ...]
    counters: tuple[Counters, ...]
    notes: tuple[str, ...]
    console: str | None
    lines: tuple[Line, ...]


def summarise(table: Any, closing: Mapping[str, Any] | None, devices: Sequence[str]) -> Summary:
    """Analyse the rows of a trace (a ``pyarrow.Table``), its closing summary (None: it has none) and device names."""
    import pyarrow as pa
    import pyarrow.compute as pc

    closing = closing if closing is not None else {"complete": False}
    console = Console(table, devices)
    moved = pc.multiply(table["count"].cast(pa.int64()), table["size"].cast(pa.int64()))
    table = table.select(["vcpu", "t_exit", "t_entry", "reason", "addr", "size", "direction", "device", "flags"])
    table = table.append_column("bytes", moved)
    table = table.append_column("handler", pc.subtract(table["t_entry"], table["t_exit"]))
    is_unclaimed = pc.not_equal(pc.bit_wise_and(table["flags"], pa.scalar(FLAGS["UNCLAIMED"], pa.uint16())), 0)
    place = ["device", "reason", "addr", "direction", "size"]
    moving = table.filter(pc.is_in(table["reason"].cast(pa.utf8()), pa.array(["io", "mmio", "rdmsr", "wrmsr"])))
    counters, notes = reconcile(table, closing)
    last = pc.max(table["t_entry"]).as_py() or 0
    duration = closing.get("duration_ns")
    return Summary(
        rows=table.num_rows,
        complete=closing.get("complete", True) is True,
        duration_ns=duration if isinstance(duration, int) else last,
        result=_mapping(closing.get("result")),
        reasons=tuple(ByReason(**row) for row in _grouped(table, ["reason"])),
        devices=tuple(ByDevice(**row) for row in _grouped(table, ["device"])),
        addresses=tuple(ByAddress(**row) for row in _grouped(moving, place)),
        unclaimed=tuple(ByAddress(**row) for row in _grouped(table.filter(is_unclaimed), place)),
        vcpus=tuple(_vcpus(table, {counter.vcpu: counter.halted_ns for counter in counters})),
        counters=counters,
        notes=notes,
        console=console.device,
        lines=tuple(console.lines()),
    )


def _grouped(table: Any, keys: list[str]) -> list[dict[str, Any]]:
    """One row per group, most exits first, then by the keys."""
    aggregates = [("handler", "count"), ("bytes", "sum"), ("handler", "sum"), ("handler", "max")]
    grouped = table.group_by(keys).aggregate(aggregates)
    names = {"handler_count": "exits", "bytes_sum": "bytes", "handler_sum": "handler_ns", "handler_max": "longest_ns"}
    rows = grouped.rename_columns([names.get(name, name) for name in grouped.column_names]).to_pylist()
    return sorted(rows, key=lambda row: (-row["exits"], *(row[key] for key in keys)))


def _vcpus(table: Any, halted: Mapping[int, int | None]) -> list[ByVcpu]:
    import pyarrow.compute as pc

    aggregates = [("t_exit", "min"), ("t_entry", "max"), ("handler", "sum"), ("handler", "count")]
    hlt = table.filter(pc.equal(table["reason"], "hlt")).group_by("vcpu").aggregate([("handler", "sum")])
    idle = dict(zip(hlt["vcpu"].to_pylist(), hlt["handler_sum"].to_pylist(), strict=True))
    rows = table.group_by("vcpu").aggregate(aggregates).sort_by("vcpu").to_pylist()
    return [
        ByVcpu(
            vcpu=row["vcpu"],
            exits=row["handler_count"],
            first_ns=row["t_exit_min"],
            guest_ns=row["t_entry_max"] - row["t_exit_min"] - row["handler_sum"],
            handler_ns=row["handler_sum"],
            hlt_ns=idle.get(row["vcpu"], 0),
            halted_ns=halted.get(row["vcpu"]),
        )
        for row in rows
    ]


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
