"""Joins tracepoints with exits: what KVM handled itself, and what came to userspace.

A *span* is the time after one exit of the guest: from its kvm_exit to the next kvm_entry on the vCPU. The rows of the
trace whose t_exit lies in the span came to userspace from it; several if KVM's emulator returns more than once for an
instruction. ``perf kvm stat`` measures the same spans, without telling KVM and userspace apart. The last span of a
vCPU, after which it did not enter the guest again, ends at the vCPU's stop. One more span is the time before the first
kvm_entry. Between spans the vCPU is in the guest.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from tracer.analysis.account import Account, Life, account
from tracer.analysis.tables import schema
from tracer.read.reader import Trace
from vmspec.trace.tracepoints import TRACEPOINTS

ENTRY, EXIT, USERSPACE = "kvm_entry", "kvm_exit", "kvm_userspace_exit"
ROW = "row"  # an exit of the trace, in the stream of events
WANTED = ["vcpu", "t", "event", "reason", "exit", "rip", "a"]

# How a span was handled.
START = "start"
KVM, CAME, INTERRUPTED, OPEN, LOST = "kvm", "userspace", "interrupted", "open", "lost"
HANDLED = {
    START: "no exit: from the vCPU's first KVM_RUN to the first kvm_entry",
    KVM: "by KVM alone",
    CAME: "by userspace: it has at least one row of the trace",
    INTERRUPTED: "by KVM, and a signal interrupted KVM_RUN before the guest went on",
    OPEN: "by KVM, and the guest was not entered again",
    LOST: "by KVM, and its kvm_entry was lost: another kvm_exit followed",
}


def spans_schema() -> Any:
    """The schema of :func:`spans`."""
    return schema(
        (
            ("vcpu", "uint16", "", "index of the vCPU"),
            ("t", "int64", "ns", "kvm_exit, since time 0"),
            (
                "t_entry",
                "int64",
                "ns",
                "the kvm_entry after it; of the last the vCPU's stop; lost: the last known time",
            ),
            ("exit", "string", "", "the processor's exit, by name; its number where none is known; start: -"),
            ("rip", "uint64", "address", "guest RIP at the exit"),
            ("handled", "string", "", "start, kvm, userspace, interrupted, open, lost: see HANDLED"),
            ("rows", "int64", "", "rows of the trace in it"),
            ("user_ns", "int64", "ns", "time with the VMM: the rows' t_entry - t_exit"),
        )
    )


def spans(trace: Trace, times: Account | None = None) -> Iterator[Any]:
    """The spans of the run as ``pyarrow.Table`` pieces of :func:`spans_schema`, each in the order of vCPU and time.
    ``times`` is the trace's account, if known."""
    import pyarrow as pa

    lives = (account(trace) if times is None else times).vcpus
    held = None
    for piece in _merged(trace):
        together = piece if held is None else pa.concat_tables([held, piece])
        done, held = _grouped(together, last=False)
        if done.num_rows:
            yield _bounded(done, lives)
    if held is not None and held.num_rows:
        done, _ = _grouped(held, last=True)
        yield _bounded(done, lives)


def _bounded(found: Any, lives: Mapping[int, Life]) -> Any:
    """Extend the first and the last span of each vCPU to where the vCPU began and stopped."""
    import pyarrow as pa
    import pyarrow.compute as pc

    at = pc.index_in(found["vcpu"], pa.array(lives, pa.uint16()))
    for column, end, further, times in (
        ("t", START, pc.min_element_wise, [life.start for life in lives.values()]),
        ("t_entry", OPEN, pc.max_element_wise, [life.stop for life in lives.values()]),  # a killed run may end earlier
    ):
        there = pa.array(times, pa.int64()).take(at)
        moved = pc.if_else(pc.equal(found["end"], end), further(there, found[column]), found[column])
        index = found.schema.get_field_index(column)
        found = found.set_column(index, found.schema.field(index), moved)
    return found.drop_columns(["end"])


def _merged(trace: Trace) -> Iterator[Any]:
    """Events and rows in one stream of pieces; each piece is after all earlier ones, on all vCPUs."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = trace.batches(["vcpu", "t_exit", "t_entry"])
    waiting = _rows(next(rows, None))
    for batch in trace.tables.need(TRACEPOINTS.name).batches(WANTED):
        events = _events(batch)
        until = pc.max(events["t"])
        while waiting is not None and waiting.num_rows and pc.less_equal(waiting["t"][-1], until).as_py():
            more = _rows(next(rows, None))
            if more is None:
                break
            waiting = pa.concat_tables([waiting, more])
        if waiting is None:
            yield events
            continue
        before = pc.less_equal(waiting["t"], until)
        yield pa.concat_tables([events, waiting.filter(before)])
        waiting = waiting.filter(pc.invert(before))
    if waiting is not None:
        yield waiting
        yield from (_rows(batch) for batch in rows)


def _events(batch: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    table = pa.Table.from_batches([batch])
    event = table["event"].cast(pa.utf8())
    table = table.set_column(table.schema.get_field_index("event"), "event", event)
    table = table.filter(pc.is_in(event, pa.array([ENTRY, EXIT, USERSPACE])))
    named, number = table["exit"].cast(pa.utf8()), table["reason"].cast(pa.utf8())
    name = pc.if_else(pc.equal(named, "unknown"), number, named)
    failed = pc.not_equal(table["a"], pa.scalar(0, pa.uint64()))
    kind = pc.if_else(pc.and_(pc.equal(table["event"], USERSPACE), failed), "error", table["event"])
    return pa.table(
        {"vcpu": table["vcpu"], "t": table["t"], "kind": kind, "exit": name, "rip": table["rip"],
         "user": pa.repeat(pa.scalar(0, pa.int64()), table.num_rows)}
    )  # fmt: skip


def _rows(batch: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    if batch is None:
        return None
    count = batch.num_rows
    return pa.table(
        {"vcpu": batch["vcpu"], "t": batch["t_exit"], "kind": pa.repeat(ROW, count), "exit": pa.repeat("-", count),
         "rip": pa.repeat(pa.scalar(0, pa.uint64()), count), "user": pc.subtract(batch["t_entry"], batch["t_exit"])}
    )  # fmt: skip


def _grouped(table: Any, last: bool) -> tuple[Any, Any]:
    """The complete spans, and the rows of those that may continue; ``last``: none continues."""
    import pyarrow as pa
    import pyarrow.compute as pc

    table = table.take(pc.sort_indices(table, [("vcpu", "ascending"), ("t", "ascending")])).combine_chunks()
    exits = pc.equal(table["kind"], EXIT)
    start = pc.or_(exits, _changes(table["vcpu"]))
    number = pc.cumulative_sum(start.cast(pa.int64()))
    table = table.append_column("span", number)

    def when(kind: str) -> Any:
        return pc.if_else(pc.equal(table["kind"], kind), table["t"], pa.scalar(None, pa.int64()))

    def one(kind: str) -> Any:
        return pc.equal(table["kind"], kind).cast(pa.int64())

    wide = pa.table(
        {"span": number, "vcpu": table["vcpu"], "t": table["t"], "exit": table["exit"], "rip": table["rip"],
         "entry": when(ENTRY), "left": pc.add(table["t"], table["user"]), "rows": one(ROW), "came": one(USERSPACE),
         "errors": one("error"), "user": table["user"], "kind": table["kind"]}
    )  # fmt: skip
    found = (
        wide.group_by("span", use_threads=False)
        .aggregate([
            ("vcpu", "first"), ("t", "first"), ("exit", "first"), ("rip", "first"), ("kind", "first"), ("entry", "min"),
            ("t", "max"), ("left", "max"), ("rows", "sum"), ("came", "sum"), ("errors", "sum"), ("user", "sum"),
        ])
        .sort_by("span")
    )  # fmt: skip
    # The last span of each vCPU may continue in the next piece.
    final = _changes_after(found["vcpu_first"])
    keep = None
    if not last:
        keep = table.filter(pc.is_in(number, found["span"].filter(final))).drop_columns(["span"])
        found, final = found.filter(pc.invert(final)), None
    before = pc.not_equal(found["kind_first"], EXIT)
    entered = pc.is_valid(found["entry_min"])
    unfinished = pa.repeat(LOST, found.num_rows) if final is None else pc.if_else(final, OPEN, LOST)
    came = pc.greater(pc.add(found["rows_sum"], found["came_sum"]), 0)
    cases = pc.make_struct(before, came, pc.invert(entered), pc.greater(found["errors_sum"], 0))
    handled = pc.case_when(cases, START, CAME, unfinished, INTERRUPTED, KVM)
    # Without a kvm_entry it ends with its last known time: its events, and its rows' handling.
    until = pc.coalesce(found["entry_min"], pc.max_element_wise(found["t_max"], found["left_max"]))
    ends = pc.case_when(pc.make_struct(before, entered), START, KVM, unfinished)
    result = pa.table(
        [found["vcpu_first"], found["t_first"], until, pc.if_else(before, "-", found["exit_first"]),
         found["rip_first"], handled, found["rows_sum"], found["user_sum"]],
        schema=spans_schema(),
    )  # fmt: skip
    return result.append_column("end", ends).filter(pc.or_(pc.invert(before), entered)), keep


def _changes(column: Any) -> Any:
    """Where a value differs from the one before it; true for the first."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not len(column):
        return pa.array([], pa.bool_())
    values = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return pa.concat_arrays([pa.array([True]), pc.not_equal(values.slice(1), values.slice(0, len(values) - 1))])


def _changes_after(column: Any) -> Any:
    """Where a value differs from the one after it; true for the last."""
    import pyarrow as pa

    changes = _changes(column)
    return pa.concat_arrays([changes.slice(1), pa.array([True] if len(changes) else [], pa.bool_())])
