"""The account of time: how each vCPU spent the run, from time 0 to the run's end. Nothing else computes these times.

A vCPU's time has five parts. They add up to the length of the run to the nanosecond, because each timestamp is rounded
once and KVM_RUN is what the other parts leave:

- *start*: from time 0 to its first KVM_RUN;
- *KVM_RUN*: from there to its stop, without handling and pauses: in the guest, or in KVM, for example halted;
- *handling*: in vmrun: t_entry - t_exit of its rows, and an exit that was still being handled at the end;
- *paused*: while the machine was paused: between a row's t_entry and the next row's t_exit, outside KVM_RUN;
- *stopped*: from its stop to the run's end, when the last vCPU stopped.

The rows say when KVM_RUN was left and entered. The closing summary has the rest: ``start_ns``, ``stop_ns``,
``open_ns``, ``paused_ns`` and ``pauses_ns`` of each vCPU, and ``duration_ns``. Older traces, and runs that continue or
were killed, lack these values. Then a vCPU's first KVM_RUN was at time 0; it stopped with its row that has the flag
LAST, or else at the run's end; it was never paused; and the run's end is the latest time in the trace.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from attrs import frozen

from tracer.analysis.counters import counters
from tracer.analysis.scan import Grouping, grouped, regroup, scan
from tracer.format.rowfile import ALL, BACKWARDS
from tracer.read.reader import Trace
from vmspec.trace.record import FLAGS

LATEST = 1 << 62  # ns; a trace with larger times is damaged
VCPUS = 1 << 16  # the column vcpu has 16 bits

Span = tuple[int, int]  # a start and an end, in ns since time 0


@frozen
class Life:
    """One vCPU's part of the account, in ns; ``start``, ``entered``, ``open`` and ``stop`` since time 0.

    ``start`` is its first KVM_RUN, ``entered`` its last, ``stop`` when it stopped. ``open`` is when it last left
    KVM_RUN without a row, None if it did not. ``halted_ns`` is the part of ``kvm_run_ns`` that KVM counted as halted,
    None if it does not count it. ``pauses`` are starts and ends, in order. ``paused_ns`` is their sum, and more if not
    all of them are known.
    """

    vcpu: int
    exits: int
    handling_ns: int
    paused_ns: int
    start: int
    entered: int
    open: int | None
    stop: int
    end: int
    halted_ns: int | None
    pauses: tuple[Span, ...] = ()

    @property
    def start_ns(self) -> int:
        """From time 0 to its first KVM_RUN."""
        return self.start

    @property
    def kvm_run_ns(self) -> int:
        """In KVM_RUN."""
        return self.stop - self.start - self.handling_ns - self.paused_ns

    @property
    def stopped_ns(self) -> int:
        """From its stop to the run's end."""
        return self.end - self.stop


@frozen
class Account:
    """The run's ``end`` in ns since time 0, which is its length, and its vCPUs by number."""

    end: int
    vcpus: Mapping[int, Life]


@frozen
class Rows:
    """The rows of one vCPU: how many, their handling time, the first t_exit, the last t_entry, and the t_entry of the
    row with the flag LAST."""

    exits: int
    handling_ns: int
    first: int
    last: int
    stopped: int | None

    def joined(self, other: "Rows") -> "Rows":
        """These rows with later rows of the same vCPU."""
        stopped = self.stopped if other.stopped is None else other.stopped
        exits, handling = self.exits + other.exits, self.handling_ns + other.handling_ns
        return Rows(exits, handling, min(self.first, other.first), max(self.last, other.last), stopped)


def account(trace: Trace) -> Account:
    """The account of a trace, in one pass over its rows."""
    return balance(trace.summary, trace.spec, rows_of(scan(trace, SUMS)[0]))


def rows_of(sums: Any) -> dict[int, Rows]:
    """The rows of each vCPU, from a scan by :data:`SUMS`."""
    return {row.pop("vcpu"): Rows(**row) for row in sums.to_pylist()}


def account_of(trace: Trace, handled: Mapping[int, tuple[int, int]]) -> Account:
    """The account if exits and handling time of each vCPU are known: of a finished file, only the two ends are read."""
    import pyarrow as pa

    if trace.kind == "stream":  # it may have grown since
        return account(trace)
    parts = []
    for which in (ALL, BACKWARDS):  # rows are in order, so a few batches at each end of the file are enough
        missing = set(handled)
        for batch in trace.batches(ENDS.columns, which) if missing else ():
            parts.append(grouped(ENDS.prepared(pa.Table.from_batches([batch])), ENDS))
            missing.difference_update(parts[-1]["vcpu"].to_pylist())
            if not missing:
                break
    found = regroup(pa.concat_tables(parts), ENDS.keys, ENDS.aggregates).to_pylist() if parts else []
    rows = {vcpu: Rows(*handled[vcpu], **row) for row in found if (vcpu := row.pop("vcpu")) in handled}
    return balance(trace.summary, trace.spec, rows)


def run_end(trace: Trace, last: int = 0, vcpus: Iterable[int] | None = None) -> int:
    """When the run ended, in ns since time 0, for an analysis that knows the ``last`` t_entry of the rows; in a merged
    trace the run of some of its ``vcpus``."""
    said = _Said(trace.summary, trace.spec)
    return said.end(last, range(said.vcpus) if vcpus is None else vcpus, whole=vcpus is None)


def pauses(trace: Trace, vcpus: Iterable[int] | None = None) -> list[Span]:
    """When a machine stood still, in order: its vCPUs were paused, or had not begun or had stopped. ``vcpus`` are those
    of one machine of a merged trace. No row is read."""
    lives = balance(trace.summary, trace.spec, {}).vcpus
    return _common([lives[vcpu] for vcpu in (lives if vcpus is None else vcpus) if vcpu in lives])


def _common(lives: Sequence[Life]) -> list[Span]:
    """The times in which at least one vCPU was paused and none ran."""
    changes: Counter[int] = Counter()  # of how many run
    paused: Counter[int] = Counter()  # of how many are paused
    for life in lives:
        changes[life.start] += 1
        changes[life.stop] -= 1
        for start, end in life.pauses:
            changes[start] -= 1
            changes[end] += 1
            paused[start] += 1
            paused[end] -= 1
    found: list[Span] = []
    running = still = 0
    since: int | None = None
    for t in sorted({*changes, *paused}):
        running, still = running + changes[t], still + paused[t]
        stands = still > 0 and running == 0
        if since is not None and not stands:
            found.append((since, t))
        since = (t if since is None else since) if stands else None
    return found


def divided(start: int, end: int, spans: Sequence[Span]) -> Iterator[tuple[int, int, bool]]:
    """A time divided by ordered spans, such as pauses: the start and end of each part, and whether it is in a span."""
    at = start
    for begin, stop in islice(spans, bisect_right(spans, start, key=lambda span: span[1]), None):
        if begin >= end:
            break
        if at < begin:
            yield at, begin, False
        yield max(at, begin), min(stop, end), True
        at = min(stop, end)
    if at < end:
        yield at, end, False


def within(start: int, end: int, spans: Sequence[Span]) -> int:
    """The ns of a time that are in ordered spans."""
    return sum(stop - begin for begin, stop, inside in divided(start, end, spans) if inside)


def balance(summary: Mapping[str, Any] | None, spec: Mapping[str, Any], rows: Mapping[int, Rows]) -> Account:
    """The account, from a trace's closing summary, its spec, and the rows of each vCPU."""
    said = _Said(summary, spec)
    vcpus = sorted({*range(said.vcpus), *rows})
    end = said.end(max((one.last for one in rows.values()), default=0), vcpus)
    halted = {counted.vcpu: counted.halted_ns for counted in counters(summary or {})}
    return Account(end, {vcpu: said.life(vcpu, rows.get(vcpu), end, halted.get(vcpu)) for vcpu in vcpus})


class _Said:
    """The times in the closing summary; impossible values are ignored."""

    def __init__(self, summary: Mapping[str, Any] | None, spec: Mapping[str, Any]) -> None:
        closing = summary or {}
        self._start, self._stop, self._open = (_times(closing.get(key)) for key in ("start_ns", "stop_ns", "open_ns"))
        self._paused = _times(closing.get("paused_ns"))
        self._pauses: Sequence[Sequence[Sequence[int]]] = closing.get("pauses_ns", ())
        self._duration = next(iter(_times([closing.get("duration_ns")])), None) or 0
        rows = closing.get("rows")
        listed = max(len(self._start), len(self._stop), len(rows) if isinstance(rows, list) else 0)
        vm = spec.get("vm")
        planned = vm.get("vcpus") if isinstance(vm, dict) else None
        self.vcpus = min(listed or (planned if isinstance(planned, int) else 0), VCPUS)

    def end(self, last: int, vcpus: Iterable[int], whole: bool = True) -> int:
        """The latest time of these vCPUs: ``last``, or a time in the summary, or (``whole``) the run's end."""
        stamps = [_of(times, vcpu) for vcpu in vcpus for times in (self._start, self._stop, self._open)]
        stopped = all(_of(self._stop, vcpu) is not None for vcpu in vcpus)
        said = self._duration if whole or not stopped else 0
        return max(last, said, *(stamp for stamp in stamps if stamp is not None))

    def life(self, vcpu: int, rows: Rows | None, end: int, halted: int | None) -> Life:
        start, stop, opened = (_of(times, vcpu) for times in (self._start, self._stop, self._open))
        if start is None:
            start = end if rows is None and vcpu < len(self._start) else 0  # it never ran, or no start is known
        if rows is None:
            rows = Rows(0, 0, start, start, None)
        # A value that contradicts the rows is damage, or its row came after the summary was made.
        start, entered = min(start, rows.first), rows.last
        stop = max(rows.stopped or end if stop is None else stop, entered)
        if opened is not None and not entered <= opened <= stop:
            opened = None
        handling = rows.handling_ns + (0 if opened is None else stop - opened)
        kvm_run = stop - start - handling
        pauses = _in_order(self._pauses[vcpu], start, stop) if vcpu < len(self._pauses) else ()
        # Of an older trace only the sum is known, as ticks rounded once.
        paused = min(max(_of(self._paused, vcpu) or 0, sum(end - begin for begin, end in pauses)), kvm_run)
        kvm_run -= paused
        return Life(
            vcpu=vcpu,
            exits=rows.exits,
            handling_ns=handling,
            paused_ns=paused,
            start=start,
            entered=entered,
            open=opened,
            stop=stop,
            end=end,
            # Two clocks measure the two times. This only cuts off the variation of their rates within the run.
            halted_ns=None if halted is None else max(min(halted, kvm_run), 0),
            pauses=pauses,
        )


def _in_order(spans: Iterable[Sequence[int]], start: int, stop: int) -> tuple[Span, ...]:
    """The spans within a vCPU's time in which it ran; what is out of order is damage."""
    found: list[Span] = []
    for span in spans:
        begin, end = max(span[0], found[-1][1] if found else start), min(span[1], stop)
        if begin < end:
            found.append((begin, end))
    return tuple(found)


def _times(values: object) -> Sequence[int | None]:
    if not isinstance(values, list):
        return ()
    return [value if isinstance(value, int) and 0 <= value < LATEST else None for value in values[:VCPUS]]


def _of(times: Sequence[int | None], vcpu: int) -> int | None:
    return times[vcpu] if vcpu < len(times) else None


def _stopped(batch: Any) -> Any:
    """The batch with its handling time, and the t_entry of rows that have the flag LAST."""
    import pyarrow as pa
    import pyarrow.compute as pc

    last = pc.bit_wise_and(batch["flags"], pa.scalar(FLAGS["LAST"], pa.uint16())).cast(pa.bool_())
    stopped = pc.if_else(last, batch["t_entry"], pa.scalar(None, pa.int64()))
    handling = pc.subtract(batch["t_entry"], batch["t_exit"])
    return batch.append_column("stopped", stopped).append_column("handling", handling)


_ENDS = {"first": ("t_exit", "min"), "last": ("t_entry", "max"), "stopped": ("stopped", "max")}
_SUMS = {"exits": ("handling", "count"), "handling_ns": ("handling", "sum")}
ENDS = Grouping(("vcpu", "t_exit", "t_entry", "flags"), ("vcpu",), _ENDS, _stopped)
SUMS = Grouping(ENDS.columns, ("vcpu",), _SUMS | _ENDS, _stopped)
