"""KVM's tracepoints in tables: by exit reason like ``perf kvm stat``, by tracepoint, and beside the other counts of the
same exits."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tracer.analysis.account import Account
from tracer.analysis.tables import schema, table
from tracer.analysis.tracepoint_spans import CAME, EXIT, LOST, OPEN, ROW, START, USERSPACE, spans
from tracer.read.reader import Trace
from vmspec.trace.tracepoints import TRACEPOINTS

# Columns of a vCPU: the account of time, with KVM_RUN in four parts: waiting, guest, kvm, halted.
TIME = (
    ("vcpu", "uint16", "", "index of the vCPU"),
    ("start_ns", "int64", "ns", "from time 0 to the vCPU's first KVM_RUN"),
    (
        "waiting_ns",
        "int64",
        "ns",
        "from the first KVM_RUN to the first kvm_entry, with the wait of a vCPU to be started",
    ),
    ("guest_ns", "int64", "ns", "time in the guest: from each kvm_entry to the next kvm_exit"),
    ("kvm_ns", "int64", "ns", "time in KVM: from each kvm_exit to the next kvm_entry, without the parts that follow"),
    ("halted_ns", "int64", "ns", "time of hlt exits: from each kvm_exit to the next kvm_entry"),
    ("handling_ns", "int64", "ns", "time in vmrun, handling exits: the sum of t_entry - t_exit"),
    ("paused_ns", "int64", "ns", "time in which the machine was paused"),
    ("stopped_ns", "int64", "ns", "from the vCPU's stop to the run's end"),
    ("guest_share", "double", "share", "guest_ns as a share of the length of the run"),
)


def schemas() -> dict[str, Any]:
    """The schemas of this module's tables, by their names in `vmtrace tracepoints`."""
    return {
        "reasons": reasons_schema(),
        "time": time_schema(),
        "times": times_schema(),
        "vcpus": vcpus_schema(),
        "events": events_schema(),
    }


def reasons_schema() -> Any:
    """The schema of :func:`by_reason`: exits of one reason, all vCPUs together."""
    return schema(
        (
            ("exit", "string", "", "the processor's exit reason"),
            ("exits", "int64", "", "exits of the guest"),
            ("kvm", "int64", "", "exits that KVM handled alone, including interrupted ones"),
            ("userspace", "int64", "", "exits that reached userspace"),
            (
                "time_share",
                "double",
                "share",
                "time_ns as a share of all reasons' time_ns, which excludes the time in the guest",
            ),
            (
                "time_ns",
                "int64",
                "ns",
                "from kvm_exit to kvm_entry, with the sleep of an hlt; the last exit lasts until the vCPU's stop",
            ),
            ("handling_ns", "int64", "ns", "part of time_ns: handling in vmrun"),
        )
    )


def times_schema() -> Any:
    """The schema of :func:`by_handling`: exits of one reason that were handled in one way."""
    return schema(
        (
            ("exit", "string", "", "the processor's exit reason"),
            ("handled", "string", "", "kvm, userspace, interrupted, open or lost (docs/tracepoints.md)"),
            ("exits", "int64", "", "number of exits"),
            ("time_ns", "int64", "ns", "from kvm_exit to kvm_entry; an open exit lasts until the vCPU's stop"),
            ("handling_ns", "int64", "ns", "part of time_ns: handling in vmrun"),
            ("mean_ns", "double", "ns", "mean of time_ns"),
            ("min_ns", "int64", "ns", "shortest time"),
            ("max_ns", "int64", "ns", "longest time"),
            ("sd_ns", "double", "ns", "standard deviation of the times"),
        )
    )


def events_schema() -> Any:
    """The schema of :func:`by_event`."""
    return schema(
        (
            ("event", "string", "", "name of the tracepoint"),
            ("events", "int64", "", "number of events"),
            ("first_ns", "int64", "ns", "time of the first, since the start"),
            ("last_ns", "int64", "ns", "time of the last, since the start"),
        )
    )


def vcpus_schema() -> Any:
    """The schema of :func:`by_vcpu`: three counts of the same things."""
    return schema(
        (
            ("vcpu", "uint16", "", "index of the vCPU"),
            ("kvm_exit", "int64", "", "number of kvm_exit events"),
            ("exits", "int64", "", "KVM's own counter of exits (KVM_GET_STATS_FD); null: the host has none"),
            ("returns", "int64", "", "number of kvm_userspace_exit events without an error"),
            ("rows", "int64", "", "rows of the trace"),
            ("errors", "int64", "", "number of kvm_userspace_exit events with an error: KVM_RUN was interrupted"),
            ("interrupted", "int64", "", "vmrun's own count of interrupted KVM_RUN; null: the run did not end"),
            ("lost", "int64", "", "events lost because the ring was full"),
        )
    )


def summed(trace: Trace, times: Account | None = None) -> Any:
    """The spans of the run by vCPU, exit and how they were handled, in one pass: a ``pyarrow.Table`` for
    :func:`by_handling` and :func:`time_by_vcpu`. ``times`` is the trace's account, if known."""
    import pyarrow as pa
    import pyarrow.compute as pc

    parts = []
    for piece in spans(trace, times):
        total = pc.subtract(piece["t_entry"], piece["t"])
        parts.append(_regrouped(pa.table({
            "vcpu": piece["vcpu"], "exit": piece["exit"], "handled": piece["handled"], "total": total,
            "vmm": piece["user_ns"], "min": total, "max": total, "first": piece["t"], "last": piece["t_entry"],
            "square": pc.power(total.cast(pa.float64(), safe=False), 2),
            "exits": pa.repeat(pa.scalar(1, pa.int64()), piece.num_rows),
        }), ["vcpu", "exit", "handled"]))  # fmt: skip
    return _regrouped(pa.concat_tables(parts), ["vcpu", "exit", "handled"]) if parts else None


def by_handling(sums: Any) -> Any:
    """The result of :func:`summed` by exit and how it was handled, most time first: a ``pyarrow.Table`` of
    :func:`times_schema`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = []
    if sums is not None:
        rows = _regrouped(sums.filter(pc.not_equal(sums["handled"], START)), ["exit", "handled"]).to_pylist()
    found = []
    for row in rows:
        mean = row["total"] / row["exits"]
        variance = max(row["square"] / row["exits"] - mean * mean, 0.0)
        found.append({
            "exit": row["exit"], "handled": row["handled"], "exits": row["exits"], "time_ns": row["total"],
            "handling_ns": row["vmm"], "mean_ns": mean, "min_ns": row["min"], "max_ns": row["max"],
            "sd_ns": math.sqrt(variance),
        })  # fmt: skip
    return pa.Table.from_pylist(
        sorted(found, key=lambda row: (-row["time_ns"], row["exit"], row["handled"])), times_schema()
    )


def time_schema() -> Any:
    """The schema of :func:`time_by_vcpu`: how each vCPU spent its time. All columns but guest_share add up to the
    length of the run."""
    return schema(TIME)


def time_by_vcpu(sums: Any, times: Account) -> Any:
    """The trace's account, with KVM_RUN divided by the result of :func:`summed`: a ``pyarrow.Table`` of
    :func:`time_schema`, without rows if the host has no kvm_exit. Raises TraceError for impossible times."""
    found: dict[int, Counter[str]] = {}
    lasts: dict[int, int] = {}
    for row in sums.to_pylist() if sums is not None else []:
        vcpu, handled = row["vcpu"], row["handled"]
        lasts[vcpu] = max(lasts.get(vcpu, 0), row["last"])
        halted = row["exit"] == "hlt" and handled != CAME
        kind = "waiting" if handled == START else "halted" if halted else "kvm"
        found.setdefault(vcpu, Counter())[kind] += row["total"] - row["vmm"]
    exits = sums is not None and any(handled != START for handled in sums["handled"].to_pylist())
    rows = []
    for vcpu, life in times.vcpus.items() if exits else ():
        # The events of a killed run may be later than its other times.
        later = max(lasts.get(vcpu, 0) - life.stop, 0)
        spent = found.get(vcpu) or Counter(waiting=life.kvm_run_ns)
        _take(spent, life.paused_ns)
        guest = life.kvm_run_ns + later - spent.total()
        parts = spent["waiting"], guest, spent["kvm"], spent["halted"], life.handling_ns, life.paused_ns
        whole = max(life.end, life.stop + later)
        stopped = whole - life.stop - later
        rows.append((vcpu, life.start_ns, *parts, stopped, guest / whole if whole else None))
    return table(TIME, rows)


def _take(spent: Counter[str], paused: int) -> None:
    """Take the paused time out of what the events have it as: a vCPU that is paused has left the guest, with the spans
    of KVM, of its last hlt, or of its wait to be started."""
    for kind in ("kvm", "halted", "waiting"):
        part = min(paused, spent[kind])
        spent[kind] -= part
        paused -= part


def _regrouped(wide: Any, keys: list[str]) -> Any:
    """Sums of spans by fewer keys."""
    sums, lows, highs = ["exits", "total", "square", "vmm"], ["min", "first"], ["max", "last"]
    wanted = [*((name, "sum") for name in sums), *((name, "min") for name in lows), *((name, "max") for name in highs)]
    done = wide.group_by(keys).aggregate(wanted)
    given = [*keys, *(f"{name}_{how}" for name, how in wanted)]  # their order is not fixed
    return done.select(given).rename_columns([*keys, *(name for name, _ in wanted)])


def by_reason(times: Any) -> Any:
    """The result of :func:`by_handling` by exit alone, most time first; a table of :func:`reasons_schema`."""
    import pyarrow as pa

    found: dict[str, dict[str, Any]] = {}
    for row in times.to_pylist():
        to = found.setdefault(row["exit"], dict.fromkeys(("exits", "kvm", "userspace", "time_ns", "handling_ns"), 0))
        to["userspace" if row["handled"] == CAME else "kvm"] += row["exits"]
        for name in ("exits", "time_ns", "handling_ns"):
            to[name] += row[name]
    time = sum(row["time_ns"] for row in found.values())
    rows = [{"exit": name, **row, "time_share": row["time_ns"] / time if time else 0.0} for name, row in found.items()]
    return pa.Table.from_pylist(sorted(rows, key=lambda row: (-row["time_ns"], row["exit"])), reasons_schema())


def by_event(trace: Trace) -> Any:
    """The events by tracepoint, most frequent first, with those that were enabled and never came."""
    import pyarrow as pa

    table = trace.tables.need(TRACEPOINTS.name)
    found: dict[str, list[int]] = {}
    for batch in table.batches(["t", "event"]):
        part = pa.table({"event": batch["event"].cast(pa.utf8()), "t": batch["t"]}).group_by("event")
        for row in part.aggregate([("t", "count"), ("t", "min"), ("t", "max")]).to_pylist():
            count, first, last = found.get(row["event"], [0, row["t_min"], row["t_max"]])
            found[row["event"]] = [count + row["t_count"], min(first, row["t_min"]), max(last, row["t_max"])]
    counted = sorted(found.items(), key=lambda item: (-item[1][0], item[0]))
    rows: list[dict[str, Any]] = [
        {"event": name, "events": n, "first_ns": first, "last_ns": last} for name, (n, first, last) in counted
    ]
    never = [name for name in sorted(table.names["event"]) if name not in found]
    rows += [{"event": name, "events": 0, "first_ns": None, "last_ns": None} for name in never]
    return pa.Table.from_pylist(rows, events_schema())


def by_vcpu(trace: Trace) -> Any:
    """The events beside KVM's own counters and the trace's rows, for each vCPU."""
    import pyarrow as pa
    import pyarrow.compute as pc

    table, closing = trace.tables.need(TRACEPOINTS.name), trace.summary or {}
    counts: dict[int, dict[str, int]] = {}
    for batch in table.batches(["vcpu", "event", "a"]):
        failed = pc.not_equal(batch["a"], pa.scalar(0, pa.uint64()))
        event = batch["event"].cast(pa.utf8())
        kind = pc.if_else(pc.and_(pc.equal(event, USERSPACE), failed), "error", event)
        _count(counts, pa.table({"vcpu": batch["vcpu"], "kind": kind}))
    for batch in trace.batches(["vcpu"]):
        _count(counts, pa.table({"vcpu": batch["vcpu"], "kind": pa.repeat(ROW, batch.num_rows)}))
    rows = []
    for vcpu in range(max([*counts, len(table.lost) - 1], default=-1) + 1):
        seen = counts.get(vcpu, {})
        rows.append({
            "vcpu": vcpu, "kvm_exit": seen.get(EXIT, 0), "exits": _kvm(closing, vcpu, "exits"),
            "returns": seen.get(USERSPACE, 0), "rows": seen.get(ROW, 0), "errors": seen.get("error", 0),
            "interrupted": _of(closing.get("interrupted"), vcpu), "lost": _of(table.lost, vcpu) or 0,
        })  # fmt: skip
    return pa.Table.from_pylist(rows, vcpus_schema())


def _counted(times: Any, handled: Sequence[str]) -> dict[str, int]:
    """Exits by some of the ways they were handled."""
    found: Counter[str] = Counter()
    for row in times.to_pylist():
        found[row["handled"]] += row["exits"]
    return {how: found[how] for how in handled}


def _count(counts: dict[int, dict[str, int]], table: Any) -> None:
    for row in table.group_by(["vcpu", "kind"]).aggregate([("kind", "count")]).to_pylist():
        of = counts.setdefault(row["vcpu"], {})
        of[row["kind"]] = of.get(row["kind"], 0) + row["kind_count"]


def _of(values: object, index: int) -> int | None:
    value = values[index] if isinstance(values, list) and index < len(values) else None
    return value if isinstance(value, int) else None


def _kvm(closing: Mapping[str, Any], vcpu: int, name: str) -> int | None:
    """A counter of KVM's over the run, None if the trace has none."""
    stats = closing.get("stats")
    ends = []
    for key in ("start", "end"):
        each = stats.get(key) if isinstance(stats, dict) else None
        one = each[vcpu] if isinstance(each, list) and vcpu < len(each) else None
        value = one.get(name) if isinstance(one, dict) else None
        if not isinstance(value, int):
            return None
        ends.append(value)
    return ends[1] - ends[0]


def notes(trace: Trace, counts: Any, times: Any) -> list[str]:
    """Sentences: what is missing, how the three counts of :func:`by_vcpu` agree, and how the spans of
    :func:`by_handling` do."""
    table = trace.tables.need(TRACEPOINTS.name)
    vcpus = counts.to_pylist()
    found = []
    if not table.complete:
        found.append("The tracepoints are not complete: the run continues, or was killed.")
    if lost := sum(row["lost"] for row in vcpus):
        found.append(
            f"{lost:,} events were lost because their rings were full: counts are too low, times may be missing."
        )
    if unknown := (table.summary or {}).get("unknown"):
        found.append(f"{unknown} records did not match the kernel's formats and are left out.")
    exits, counted = sum(row["kvm_exit"] for row in vcpus), [row["exits"] for row in vcpus]
    returns, rows = sum(row["returns"] for row in vcpus), sum(row["rows"] for row in vcpus)
    if not exits and rows:
        found.append("There are no kvm_exit events: this host's KVM interprets the guest.")
    if all(isinstance(number, int) for number in counted):
        kvm = sum(counted)
        same = "the same" if kvm == exits else f"{exits - kvm:+,}"
        found.append(f"{exits:,} kvm_exit events, {kvm:,} exits by KVM's own counter: {same}.")
    ends = _counted(times, (OPEN, LOST))
    if ends[OPEN]:
        found.append(
            f"Exits that KVM handled without a kvm_entry after them: {ends[OPEN]:,}; their time ends at the stop."
        )
    if ends[LOST]:
        found.append(f"Exits whose kvm_entry was lost: {ends[LOST]:,}; their true time is longer.")
    same = "the same" if returns == rows else f"{returns - rows:+,}"
    found.append(f"{returns:,} kvm_userspace_exit events, {rows:,} rows in the trace: {same}.")
    return found
