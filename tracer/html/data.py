"""What the report says: one pass over a trace's rows, and a short one for the times of its console lines."""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from attrs import frozen

from tracer.analysis.chunks import chunks
from tracer.analysis.density import Binned, Density
from tracer.analysis.phases import phases
from tracer.analysis.tally import EXITS, Tally
from tracer.counters import counters, reconcile
from tracer.html.consoletext import COLUMNS as CONSOLE_COLUMNS
from tracer.html.consoletext import ConsoleRows, Text
from vmspec.record import FLAGS

ACCESSES = ("io", "mmio", "rdmsr", "wrmsr")  # the reasons that have an address
PLACE = ("device", "reason", "addr", "direction", "size")
TIMES = EXITS | {"first_ns": ("t_exit", "min"), "last_ns": ("t_entry", "max")}


@frozen
class Vcpu:
    """Where the time of one vCPU went, in ns, from 0 to its last row: ``first_ns`` until its first exit, ``guest_ns``
    in KVM_RUN, of it ``halted_ns`` halted in the kernel (None: not counted), ``handler_ns`` with vmrun, of it
    ``hlt_ns`` for hlt exits."""

    vcpu: int
    exits: int
    first_ns: int
    guest_ns: int
    halted_ns: int | None
    handler_ns: int
    hlt_ns: int


@frozen
class Findings:
    """Everything that the page shows, of ``rows`` exits in ``end`` ns.

    Tables are ``pyarrow.Table`` objects, most exits first, None for a trace without rows: ``reasons``, ``devices``,
    ``addresses`` (of accesses), ``unclaimed`` (of those, what no device claims) and ``rips`` have exits, bytes
    (not of RIPs), handler_ns and longest_ns of a group. ``missed`` is how many exits a row of the last three may
    lack (see :class:`tracer.analysis.tally.Tally`). ``densities`` are by device and reason, and by vCPU where there are
    several. ``notes`` are sentences on what the trace has and lacks.
    """

    rows: int
    end: int
    notes: tuple[str, ...]
    reasons: Any
    devices: Any
    addresses: Any
    unclaimed: Any
    rips: Any
    missed: int
    vcpus: tuple[Vcpu, ...]
    densities: tuple[Binned, ...]
    console: Text
    phases: Any


def gather(trace: Any) -> Findings:
    """Analyse a trace in bounded memory, however many rows it has. Raises TraceError for a damaged one."""
    import pyarrow as pa

    end, vcpus = _extent(trace)
    closing: Mapping[str, Any] = trace.summary if trace.summary is not None else {"complete": False}
    densities = [Density(end, ["device", "reason"]), *([Density(end, ["vcpu"])] if vcpus > 1 else [])]
    kinds = Tally(["vcpu", "device", "reason"], TIMES)
    places = Tally([*PLACE, "unclaimed"])
    rips = Tally(["rip", "device", "reason"], {name: EXITS[name] for name in ("exits", "handler_ns", "longest_ns")})
    console = ConsoleRows(trace.devices, pa.schema([trace.schema.field(name) for name in CONSOLE_COLUMNS]))
    for table in chunks(trace, [name for name in trace.schema.names if name != "seq"]):
        console.add(table)
        exits = table.drop_columns(["payload", "data", "count"])
        for density in densities:
            density.add(exits)
        kinds.add(exits)
        rips.add(exits.filter(_flag(exits, "RIP")))
        places.add(exits.append_column("unclaimed", _flag(exits, "UNCLAIMED")))
    reasons = kinds.table(["reason"])
    counts = dict(zip(*(reasons[name].to_pylist() for name in ("reason", "exits")), strict=True)) if reasons else {}
    rows = sum(counts.values())
    text = console.text()
    until = exits_until(trace, [line.t for line in text.lines])
    steps = [after - before for before, after in zip([0, *until], [*until, rows], strict=True)]
    return Findings(
        rows=rows,
        end=end,
        notes=reconcile(counts, closing),
        reasons=reasons,
        devices=kinds.table(["device"]),
        addresses=_accesses(places.table(PLACE)),
        unclaimed=_unclaimed(places.table()),
        rips=rips.table(),
        missed=max(places.missed, rips.missed),
        vcpus=_vcpus(kinds.table(["vcpu", "reason"]), {each.vcpu: each.halted_ns for each in counters(closing)}),
        densities=tuple(made for density in densities if (made := density.binned()) is not None),
        console=text,
        phases=phases([line.t for line in text.lines], _texts(text), steps, end),
    )


def _texts(text: Text) -> list[str]:
    """The lines' texts; the last one before what was left out says so, since it seems to last that long."""
    texts = [line.text for line in text.lines]
    if text.left_out and text.resumes:
        texts[text.resumes - 1] = "(the console is left out after this line) " + texts[text.resumes - 1]
    return texts


def exits_until(trace: Any, times: Sequence[int]) -> list[int]:
    """How many exits of a trace there were up to each of ``times`` (ns, in order), that time included."""
    within, whole = [0] * len(times), [0] * (len(times) + 1)  # of batches that hold a time; of those ended by then
    for batch in trace.batches(["t_exit"]) if times else ():
        column = batch.column(0)
        exits = memoryview(column.buffers()[1]).cast("q")[column.offset : column.offset + len(column)]
        first, last = bisect_left(times, exits[0]), bisect_left(times, exits[-1])
        for index in range(first, last):
            within[index] += bisect_right(exits, times[index])
        whole[last] += len(exits)
    return [part + ended for part, ended in zip(within, accumulate(whole), strict=False)]


def _extent(trace: Any) -> tuple[int, int]:
    """The run's length in ns, by its closing summary and its rows, and its number of vCPUs."""
    import pyarrow.compute as pc

    duration = (trace.summary or {}).get("duration_ns")
    end, vcpus = duration if isinstance(duration, int) and 0 <= duration < 1 << 62 else 0, 0
    for batch in trace.batches(["vcpu", "t_exit", "t_entry"]):
        end = max(end, pc.max(batch["t_exit"]).as_py(), pc.max(batch["t_entry"]).as_py())
        vcpus = max(vcpus, pc.max(batch["vcpu"]).as_py() + 1)
    return end, vcpus


def _flag(table: Any, name: str) -> Any:
    """Which rows have a flag."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.not_equal(pc.bit_wise_and(table["flags"], pa.scalar(FLAGS[name], pa.uint16())), 0)


def _accesses(places: Any) -> Any:
    """Of exits by place, those that have an address."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return None if places is None else places.filter(pc.is_in(places["reason"], pa.array(ACCESSES)))


def _unclaimed(places: Any) -> Any:
    """Of exits by place, those that no device claims."""
    return None if places is None else places.filter(places["unclaimed"]).drop_columns(["unclaimed", "device"])


def _vcpus(times: Any, halted: Mapping[int, int | None]) -> tuple[Vcpu, ...]:
    """The time of each vCPU, from the groups by vCPU and reason."""
    rows: dict[int, list[dict[str, Any]]] = {}
    for row in times.to_pylist() if times is not None else ():
        rows.setdefault(row["vcpu"], []).append(row)
    made = []
    for vcpu, groups in sorted(rows.items()):
        first, last = min(row["first_ns"] for row in groups), max(row["last_ns"] for row in groups)
        handler = sum(row["handler_ns"] for row in groups)
        made.append(
            Vcpu(
                vcpu=vcpu,
                exits=sum(row["exits"] for row in groups),
                first_ns=first,
                guest_ns=last - first - handler,
                halted_ns=halted.get(vcpu),
                handler_ns=handler,
                hlt_ns=sum(row["handler_ns"] for row in groups if row["reason"] == "hlt"),
            )
        )
    return tuple(made)
