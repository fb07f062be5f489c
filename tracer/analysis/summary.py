"""A trace as a whole: where exits and time went, and what the trace lacks."""

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from tracer.analysis.account import SUMS, Account, account_of, balance, rows_of
from tracer.analysis.counters import Counters, counters, numbers, reconcile
from tracer.analysis.exits import Tally, grouping
from tracer.analysis.exits import schema as exits_schema
from tracer.analysis.frames import FRAMES, by_device
from tracer.analysis.frames import notes as frame_notes
from tracer.analysis.kicks import unrecorded
from tracer.analysis.scan import Grouping, scan
from tracer.analysis.tables import named_schema, schema, table, with_names
from tracer.decode.regions import Regions
from tracer.format.words import times
from tracer.read.reader import Trace
from vmspec.trace.record import FLAGS
from vmspec.trace.tracepoints import TRACEPOINTS

MOVING = ("io", "mmio", "rdmsr", "wrmsr")  # reasons whose addr is an address
PLACE = ("device", "reason", "addr", "direction", "size")
TARGET = (*PLACE, "region")  # a region that moves may lie where another one lay

_VCPUS = (
    ("vcpu", "uint16", "", "index of the vCPU"),
    ("exits", "int64", "", "number of exits"),
    ("start_ns", "int64", "ns", "from time 0 to the vCPU's first KVM_RUN"),
    ("kvm_run_ns", "int64", "ns", "time in KVM_RUN (in the guest or in KVM) until the vCPU stopped"),
    ("handling_ns", "int64", "ns", "time in vmrun, handling exits: the sum of t_entry - t_exit"),
    ("paused_ns", "int64", "ns", "time in which the machine was paused"),
    ("stopped_ns", "int64", "ns", "from the vCPU's stop to the run's end"),
    ("kvm_run_share", "float64", "share", "kvm_run_ns as a share of kvm_run_ns + handling_ns"),
    ("hlt_ns", "int64", "ns", "part of handling_ns: hlt exits, while the vCPU was idle"),
    ("halted_ns", "int64", "ns", "part of kvm_run_ns: halted in KVM, as KVM measured it; null: unknown"),
)
_UNCLAIMED = (
    ("reason", "utf8", "", "KVM exit reason"),
    (
        "addr",
        "uint64",
        "address",
        "port, guest-physical address or MSR; null: the rest, if there are too many addresses",
    ),
    ("direction", "utf8", "", "read (returned all ones) or write (had no effect)"),
    ("size", "uint8", "bytes", "size of one item"),
    ("exits", "int64", "", "number of exits"),
    ("data", "uint64", "hex", "most frequent value that was read or written"),
    ("values", "int64", "", "number of different values"),
    ("rip", "uint64", "address", "most frequent guest RIP; null: unknown, or too many to count"),
    ("rips", "int64", "", "number of different RIPs"),
)
_UNSEEN = (
    ("vcpu", "uint16", "", "index of the vCPU"),
    ("rows", "int64", "", "exits in the trace"),
    ("dropped", "int64", "", "exits not recorded because the ring was full"),
    ("interrupted", "int64", "", "returns of KVM_RUN because of a signal, which are not recorded"),
    ("kvm_exits", "int64", "", "all exits of the guest, as KVM counted them; null: unknown"),
    ("unseen", "int64", "", "exits that KVM handled without vmrun; null: unknown"),
    ("unseen_share", "float64", "share", "unseen as a share of kvm_exits"),
)
_COUNTERS = (
    ("vcpu", "uint16", "", "index of the vCPU"),
    ("counter", "utf8", "", "KVM's name of the counter (KVM_GET_STATS_FD)"),
    ("value", "int64", "", "increase during the run"),
)
_RUN = (
    ("rows", "int64", "", "exits in the trace"),
    ("complete", "bool", "", "whether the trace has everything that the run recorded"),
    ("duration_ns", "int64", "ns", "length of the run"),
    ("kind", "utf8", "", "how the run ended"),
    ("status", "int64", "", "exit status of vmrun"),
)


_NOTES = (("note", "utf8", "", "how the rows compare with KVM's counters"),)


def schemas() -> dict[str, Any]:
    """The schemas of :class:`Summary`'s tables."""
    tables = {"vcpu": _VCPUS, "unseen": _UNSEEN, "counters": _COUNTERS, "frames": FRAMES, "run": _RUN, "notes": _NOTES}
    return {
        "reason": exits_schema(["reason"]),
        "device": exits_schema(["device"]),
        "address": named_schema(exits_schema(PLACE)),
        "unclaimed": named_schema(schema(_UNCLAIMED)),
        **{name: schema(columns) for name, columns in tables.items()},
    }


@frozen
class Summary:
    """``tables`` by name, in the order of a report:

    - ``reason``, ``device``, ``address``: :func:`tracer.analysis.exits.schema`, most exits first;
    - ``unclaimed``: accesses that no device claims, most frequent first, with the value read or written and the RIP;
    - ``vcpu``: how each vCPU spent its time;
    - ``unseen``: what the trace lacks, by vCPU: drops, and exits that KVM handled;
    - ``counters``: KVM's own, those that changed;
    - ``frames``: what network devices moved and dropped;
    - ``run``: one row about the whole; ``notes``: sentences on how all these counts agree.
    """

    rows: int
    complete: bool
    duration_ns: int
    result: Mapping[str, Any]
    notes: tuple[str, ...]
    tables: Mapping[str, Any]


def summarise(trace: Trace, sort: str = "exits") -> Summary:
    """Summarise a trace in one pass over its file; ``sort`` may be any column of the tables of exits."""
    closing = trace.summary if trace.summary is not None else {"complete": False}
    # A stream may grow between two passes.
    groups, lost, *found = scan(trace, KINDS, LOST, *([SUMS] if trace.kind == "stream" else []))
    tally = Tally.of(groups)
    handled = {row["vcpu"]: (row["exits"], row["handling_ns"]) for row in tally.table(["vcpu"]).to_pylist()}
    spent = balance(trace.summary, trace.spec, rows_of(found[0])) if found else account_of(trace, handled)
    counted = counters(closing)
    reasons = tally.table(["reason"], sort)
    rows = dict(zip(reasons["reason"].to_pylist(), reasons["exits"].to_pylist(), strict=True))
    notes = (
        *reconcile(rows, closing),
        *_kick_notes(trace),
        *_tracepoint_notes(trace),
        *_pause_notes(trace, spent),
        *frame_notes(trace),
    )
    result = closing.get("result")
    result = result if isinstance(result, dict) else {}
    whole = {"rows": sum(rows.values()), "complete": trace.complete, "duration_ns": spent.end} | {
        "kind": result["kind"] if isinstance(result.get("kind"), str) else None,
        "status": result["status"] if isinstance(result.get("status"), int) else None,
    }
    vcpus = _vcpus(tally, spent)
    tables = {
        "reason": reasons,
        "device": tally.table(["device"], sort),
        "address": with_names(_moving(tally).table(TARGET, sort), Regions(trace.metadata)),
        "unclaimed": _unclaimed(lost),
        "vcpu": vcpus,
        "unseen": _unseen(vcpus, closing, counted),
        "counters": table(_COUNTERS, [(c.vcpu, name, value) for c in counted for name, value in c.kvm.items()]),
        "frames": by_device(trace),
        "run": table(_RUN, [tuple(whole.values())]),
        "notes": table(_NOTES, [(note,) for note in notes]),
    }
    return Summary(tally.exits, trace.complete, spent.end, result, notes, tables)


def _tracepoint_notes(trace: Trace) -> tuple[str, ...]:
    if TRACEPOINTS.name not in trace.tables.there():
        return ()
    return (f"What KVM handled itself was recorded too: vmtrace tracepoints {trace.path}",)


def _kick_notes(trace: Trace) -> tuple[str, ...]:
    lacks = unrecorded(trace.metadata)
    return (f"{lacks[0].upper()}{lacks[1:]}.",) if lacks else ()


def _pause_notes(trace: Trace, spent: Account) -> tuple[str, ...]:
    count = max((len(life.pauses) for life in spent.vcpus.values()), default=0)
    if not count:
        return ()
    return (f"The machine was paused {times(count)}: vmtrace timeline {trace.path}",)


def _lost(batch: Any) -> Any:
    """The rows that no device claims."""
    import pyarrow as pa
    import pyarrow.compute as pc

    unclaimed = pc.bit_wise_and(batch["flags"], pa.scalar(FLAGS["UNCLAIMED"], pa.uint16()))
    return batch.filter(unclaimed.cast(pa.bool_()))


KINDS = grouping((*TARGET, "vcpu"))
_WHAT = ("reason", "addr", "direction", "size")
LOST = Grouping(
    ("flags", *_WHAT, "data", "rip"),
    (*_WHAT, "data", "rip"),
    {"exits": ("flags", "count")},
    _lost,
    fold=("data", "rip", "addr"),
)


def _moving(tally: Tally) -> Tally:
    import pyarrow as pa
    import pyarrow.compute as pc

    return tally.where(pc.is_in(tally.groups["reason"], pa.array(MOVING)))


def _unclaimed(lost: Any) -> Any:
    """Each place with its most frequent value and instruction; of equally frequent ones the lowest."""
    places: dict[tuple[Any, ...], tuple[dict[Any, int], dict[Any, int]]] = {}
    columns = (lost[name].to_pylist() for name in (*_WHAT, "data", "rip", "exits"))
    for *place, data, rip, exits in zip(*columns, strict=True):
        values, rips = places.setdefault(tuple(place), ({}, {}))
        values[data] = values.get(data, 0) + exits
        if rip != 0:  # 0: the host does not report it
            rips[rip] = rips.get(rip, 0) + exits
    rows = [
        (*place, sum(values.values()), _most(values), len(values), _most(rips), len(rips))
        for place, (values, rips) in places.items()
    ]
    return with_names(table(_UNCLAIMED, sorted(rows, key=lambda row: (-row[4], row[:4]))))


def _most(counts: Mapping[Any, int]) -> Any:
    return min(counts, key=lambda value: (-counts[value], value is None, value), default=None)


def _vcpus(tally: Tally, spent: Account) -> Any:
    hlt = {
        row["vcpu"]: row["handling_ns"] for row in tally.table(["vcpu", "reason"]).to_pylist() if row["reason"] == "hlt"
    }
    rows = []
    for vcpu, one in spent.vcpus.items():
        ran = one.kvm_run_ns + one.handling_ns
        share = one.kvm_run_ns / ran if ran else None
        parts = one.start_ns, one.kvm_run_ns, one.handling_ns, one.paused_ns, one.stopped_ns
        rows.append((vcpu, one.exits, *parts, share, hlt.get(vcpu, 0), one.halted_ns))
    return table(_VCPUS, rows)


def _unseen(vcpus: Any, closing: Mapping[str, Any], counted: Sequence[Counters]) -> Any:
    rows = dict(zip(vcpus["vcpu"].to_pylist(), vcpus["exits"].to_pylist(), strict=True))
    dropped, interrupted = numbers(closing, "dropped"), numbers(closing, "interrupted")
    seen = {counter.vcpu: counter.kvm.get("exits") for counter in counted}
    found = []
    for vcpu in sorted({*rows, *seen, *range(len(dropped)), *range(len(interrupted))}):
        here, exits = rows.get(vcpu, 0), seen.get(vcpu)
        counts = [numbers[vcpu] if vcpu < len(numbers) else 0 for numbers in (dropped, interrupted)]
        unseen = max(exits - here - counts[0], 0) if exits else None
        found.append((vcpu, here, *counts, exits, unseen, unseen / exits if exits and unseen is not None else None))
    return table(_UNSEEN, found)
