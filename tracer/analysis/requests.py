"""The requests to virtio devices: how many, how long, how many at once, and the notifications of the slowest.

The latency of a request is the time from ``t_available`` to ``t_done``: the guest waits for it. A driver gives a device
buffers to fill long before there is something to fill them with. Their latency (:data:`FILLED`) begins with
``t_taken``. A request is in flight during its latency. Every figure is exact; a quantile is the value of rank
``ceil(fraction * requests)``. All requests are in memory, some 50 bytes each.
"""

from collections.abc import Sequence
from typing import Any

from attrs import frozen

from tracer.analysis.account import run_end
from tracer.analysis.exits import MEDIAN, P99, grouping
from tracer.analysis.frames import FRAMES, by_device
from tracer.analysis.kicks import Kicks
from tracer.analysis.scan import scan
from tracer.analysis.symbols import Namer, namer
from tracer.analysis.tables import schema, table
from tracer.read.reader import Trace
from vmspec.trace.requests import FILLED, REQUESTS

BINS = 60  # parts of the run in the table of depths
SLOWEST = 20
OK = "ok"
_READ = ("device", "queue", "kind", "position", "length", "status", "t_available", "t_taken", "t_done")

_KINDS = (
    ("device", "utf8", "", "the device"),
    ("kind", "utf8", "", "kind of request"),
    ("requests", "int64", "", "number of requests"),
    ("failed", "int64", "", "number of those whose status is not ok"),
    ("bytes", "int64", "bytes", "sum of the requests' length"),
    ("median_ns", "int64", "ns", "median latency: from when vmrun knew of the request until it was done"),
    ("p99_ns", "int64", "ns", "99th percentile of the latency"),
    ("max_ns", "int64", "ns", "longest latency"),
    ("service_ns", "int64", "ns", "median time from when the device took the request until it was done"),
    ("busy_ns", "int64", "ns", "time in which at least one was in flight"),
    ("depth", "float64", "", "mean number in flight while at least one was"),
    ("max_depth", "int64", "", "greatest number in flight"),
)
_DEPTH = (
    ("device", "utf8", "", "the device"),
    ("t_ns", "int64", "ns", "beginning of this part of the run, since the machine started"),
    ("time_ns", "int64", "ns", "length of this part"),
    ("requests", "int64", "", "requests that were done in it"),
    ("bytes", "int64", "bytes", "sum of their length"),
    ("depth", "float64", "", "mean number in flight"),
    ("max_depth", "int64", "", "greatest number in flight"),
)
_SLOWEST = (
    ("device", "utf8", "", "the device"),
    ("queue", "int64", "", "index of the queue"),
    ("kind", "utf8", "", "kind of request"),
    ("position", "uint64", "number", "first sector of 512 bytes on a disk, else 0"),
    ("bytes", "uint64", "bytes", "length of the request"),
    ("status", "utf8", "", "ok, error or unsupported"),
    ("latency_ns", "int64", "ns", "from when vmrun knew of the request until it was done"),
    (
        "wait_ns",
        "int64",
        "ns",
        "part of the latency before the device took the request; 0 for a buffer that waits for data",
    ),
    ("t_ns", "int64", "ns", "when its latency began, since the machine started"),
    ("vcpu", "int64", "", "vCPU of the last notification of its queue until then; null: there was none"),
    ("seq", "int64", "", "number of that exit on its vCPU"),
    ("kick_ns", "int64", "ns", "t_exit of that exit"),
    ("rip", "uint64", "address", "guest RIP at that exit; 0 if unknown"),
    (
        "symbol",
        "utf8",
        "",
        "symbol that contains the RIP, and the distance from it; in brackets the kind of a RIP without one",
    ),
)
_PHASES = (
    ("phase", "utf8", "", "phase of the boot"),
    ("t_ns", "int64", "ns", "when it began, since the machine started"),
    ("device", "utf8", "", "the device"),
    ("requests", "int64", "", "requests that were done in it"),
    ("failed", "int64", "", "number of those whose status is not ok"),
    ("bytes", "int64", "bytes", "sum of their length"),
    ("busy_ns", "int64", "ns", "time in it in which at least one was in flight"),
    ("busy_share", "float64", "share", "busy_ns as a share of the phase, with its pauses"),
    ("depth", "float64", "", "mean number in flight while at least one was"),
)


def schemas() -> dict[str, Any]:
    """The schemas of the tables of :func:`summarised`."""
    return {"kinds": schema(_KINDS), "frames": schema(FRAMES), "depth": schema(_DEPTH), "slowest": _slowest_schema()}


def _slowest_schema() -> Any:
    """On a narrow terminal the exit stays longest."""
    import pyarrow as pa

    kept = ("latency_ns", "vcpu", "seq", "rip")
    fields = schema(_SLOWEST)
    more = {name: {"keep": "1"} for name in kept}
    return pa.schema([field.with_metadata({**field.metadata, **more.get(field.name, {})}) for field in fields])


def phases_schema() -> Any:
    """The schema of :func:`by_phase`."""
    return schema(_PHASES)


@frozen
class Flight:
    """When requests were in flight, from :func:`flight`: ``starts`` and ``lengths`` of spans in ns, and the number in
    flight in each, ``counts``."""

    starts: Any
    lengths: Any
    counts: Any

    def busy(self) -> int:
        """Time in which at least one was, in ns."""
        import pyarrow.compute as pc

        return int(pc.sum(self.lengths.filter(pc.greater(self.counts, 0))).as_py() or 0)

    def waited(self) -> int:
        """The sum of the requests' times, in ns."""
        import pyarrow.compute as pc

        return int(pc.sum(pc.multiply(self.lengths, self.counts)).as_py() or 0)

    def most(self) -> int:
        """The greatest number at once."""
        import pyarrow.compute as pc

        return int(pc.max(self.counts).as_py() or 0)


def flight(starts: Any, ends: Any, cuts: Sequence[int] = ()) -> Flight:
    """The number of requests in flight over time. Each is from its start until its end, both included. No span goes
    over a cut."""
    import pyarrow as pa
    import pyarrow.compute as pc

    times = pa.concat_arrays([starts, pa.array(cuts, pa.int64()), ends])
    changes = [pa.repeat(pa.scalar(step, pa.int64()), count) for step, count in
               ((1, len(starts)), (0, len(cuts)), (-1, len(ends)))]  # fmt: skip
    events = pa.table({"t": times, "change": pa.concat_arrays(changes)})
    events = events.sort_by([("t", "ascending"), ("change", "descending")]).combine_chunks()
    at = _array(events["t"])
    counts = pc.cumulative_sum(_array(events["change"]))
    last = at.slice(max(len(at) - 1, 0))
    lengths = pc.subtract(pa.concat_arrays([at.slice(1), last]), at)
    return Flight(at, lengths, counts)


def loaded(trace: Trace) -> Any:
    """All requests of a trace as a ``pyarrow.Table``: device, queue, kind, position, length, status; ``start`` and
    ``end`` of the latency; ``wait`` and ``service``, its parts before and after the device took it. Raises TraceError
    if none were recorded."""
    import pyarrow as pa
    import pyarrow.compute as pc

    pieces = []
    for batch in trace.tables.need(REQUESTS.name).batches(_READ):
        columns = {name: batch[name] for name in _READ}
        for name in ("device", "kind", "status"):
            columns[name] = columns[name].cast(pa.utf8())
        available, taken, end = (columns.pop(name) for name in ("t_available", "t_taken", "t_done"))
        filled = pc.is_in(columns["kind"], pa.array(FILLED))
        # A damaged trace may have any times.
        start = pc.min_element_wise(pc.if_else(filled, taken, available), end)
        taken = pc.min_element_wise(pc.max_element_wise(taken, start), end)
        times = {"start": start, "end": end, "wait": pc.subtract(taken, start), "service": pc.subtract(end, taken)}
        pieces.append(pa.table({**columns, **times}))
    return pa.concat_tables(pieces) if pieces else _nothing()


def _nothing() -> Any:
    import pyarrow as pa

    kinds = {"device": "utf8", "queue": "uint16", "kind": "utf8", "position": "uint64", "length": "uint64"}
    kinds |= {"status": "utf8"} | dict.fromkeys(("start", "end", "wait", "service"), "int64")
    return pa.schema([(name, pa.type_for_alias(kind)) for name, kind in kinds.items()]).empty_table()


def summarised(trace: Trace) -> dict[str, Any]:
    """The tables of :func:`schemas`. Raises TraceError if no requests were recorded."""
    rows = loaded(trace)
    end = max([run_end(trace), *rows["end"].slice(max(rows.num_rows - 1, 0)).to_pylist()])
    return {
        "kinds": by_kind(rows),
        "frames": by_device(trace),
        "depth": depths(rows, end),
        "slowest": slowest(trace, rows),
    }


def by_kind(rows: Any) -> Any:
    """The requests of :func:`loaded` by device and kind: a ``pyarrow.Table``, most requests first."""
    import pyarrow.compute as pc

    found = []
    for (device, kind), group in _grouped(rows, ("device", "kind")):
        latency = _sorted(pc.subtract(group["end"], group["start"]))
        flown = flight(_array(group["start"]), _array(group["end"]))
        busy = flown.busy()
        found.append((
            device, kind, group.num_rows, _failed(group), _bytes(group), _rank(latency, MEDIAN), _rank(latency, P99),
            latency[-1].as_py(), _rank(_sorted(group["service"]), MEDIAN), busy,
            flown.waited() / busy if busy else None, flown.most(),
        ))  # fmt: skip
    return table(_KINDS, sorted(found, key=lambda row: (-row[2], row[0], row[1])))


def depths(rows: Any, end: int, bins: int = BINS) -> Any:
    """The requests in flight of each device in equal parts of the run: a ``pyarrow.Table`` by device and time."""
    import pyarrow as pa
    import pyarrow.compute as pc

    width = max(end, 0) // bins + 1  # the end is in the last part
    edges = [number * width for number in range(bins + 1)]
    found = []
    for (device,), group in _grouped(rows, ("device",)):
        flown = flight(_array(group["start"]), _array(group["end"]), edges)
        waited = pc.multiply(flown.lengths, flown.counts)
        spans = pa.table({"bin": _bin(flown.starts, width), "waited": waited, "count": flown.counts})
        sums = {row["bin"]: row for row in
                spans.group_by("bin").aggregate([("waited", "sum"), ("count", "max")]).to_pylist()}  # fmt: skip
        done = pa.table({"bin": _bin(group["end"], width), "length": group["length"].cast(pa.decimal128(20, 0))})
        ended = {row["bin"]: row for row in
                 done.group_by("bin").aggregate([("length", "sum"), ("length", "count")]).to_pylist()}  # fmt: skip
        for number, at in enumerate(edges[:-1]):
            here, ends = sums.get(number, {}), ended.get(number, {})
            count, moved = ends.get("length_count", 0), int(ends.get("length_sum", 0))
            mean, most = here.get("waited_sum", 0) / width, max(here.get("count_max", 0), 0)
            found.append((device, at, width, count, moved, mean, most))
    return table(_DEPTH, found)


def slowest(trace: Trace, rows: Any, most: int = SLOWEST) -> Any:
    """The requests of :func:`loaded` with the longest latencies: a ``pyarrow.Table``, longest first. Each has the last
    notification of its queue until its latency began."""
    import pyarrow.compute as pc

    timed = rows.append_column("latency", pc.subtract(rows["end"], rows["start"]))
    order = pc.sort_indices(timed, [("latency", "descending"), ("start", "ascending")])
    chosen = timed.take(order.slice(0, most)).to_pylist()
    if not chosen:
        return _slowest_schema().empty_table()
    kicks = Kicks(trace)
    told = [kicks.before(row["device"], row["queue"], row["start"]) for row in chosen]
    names = _names(trace) if any(kick is not None and kick.rip for kick in told) else None
    found = []
    for row, kick in zip(chosen, told, strict=True):
        where: tuple[int | str | None, ...] = (None,) * 5
        if kick is not None:
            where = (kick.vcpu, kick.seq, kick.t_exit, kick.rip, _symbol(names, kick.rip))
        found.append((
            row["device"], row["queue"], row["kind"], row["position"], row["length"], row["status"], row["latency"],
            row["wait"], row["start"], *where,
        ))  # fmt: skip
    return table(_SLOWEST, found).cast(_slowest_schema())


def _names(trace: Trace) -> Namer:
    """Names for RIPs; those of port exits tell where the kernel is."""
    groups = scan(trace, grouping(("rip", "reason")))[0]
    pairs = zip(groups["rip"].to_pylist(), groups["reason"].to_pylist(), strict=True)
    return namer(trace, list({rip for rip, reason in pairs if rip and reason == "io"}))


def _symbol(names: Namer | None, rip: int) -> str:
    """The symbol of a RIP and the distance from it; else the kind of the RIP, such as [module]; "" without symbols."""
    if names is None or names.symbols is None or not rip:
        return ""
    symbol, whole = names.name(rip)
    return symbol if symbol.startswith("[") else whole


def by_phases(trace: Trace, phases: Any, console: str | None) -> Any:
    """The requests of a trace in each phase of its timeline; of a merged one, those of the machine of the ``console``.
    Empty if none were recorded."""
    import pyarrow.compute as pc

    if REQUESTS.name not in trace.tables:
        return table(_PHASES, [])
    rows, machine = loaded(trace), (console or "").rpartition("/")[0]
    if machine:
        rows = rows.filter(pc.starts_with(rows["device"], f"{machine}/"))
    return by_phase(rows, phases)


def by_phase(rows: Any, phases: Any) -> Any:
    """The requests of :func:`loaded` in each phase of :func:`tracer.analysis.timeline.timeline`, by device: a
    ``pyarrow.Table`` in the order of time. A request counts where it was done."""
    import pyarrow as pa
    import pyarrow.compute as pc

    parts = phases.to_pylist()
    starts = [part["t_ns"] for part in parts]
    ends = [*starts[1:], *(part["t_ns"] + part["time_ns"] + part["paused_ns"] for part in parts[-1:])]
    found = []
    for (device,), group in _grouped(rows, ("device",)):
        flown = flight(_array(group["start"]), _array(group["end"]), [*starts, *ends[-1:]])
        for number, (part, start, end) in enumerate(zip(parts, starts, ends, strict=True)):
            last = number == len(parts) - 1
            inside = pc.and_(pc.greater_equal(flown.starts, start), pc.less(flown.starts, end))
            here = Flight(*(column.filter(inside) for column in (flown.starts, flown.lengths, flown.counts)))
            first = pc.greater_equal(group["end"], start if number else -(1 << 62))
            until = pa.scalar(True) if last else pc.less(group["end"], end)
            done = group.filter(pc.and_(first, until))
            if done.num_rows or here.most():
                busy = here.busy()
                found.append((
                    part["phase"], start, device, done.num_rows, _failed(done), _bytes(done), busy,
                    busy / (end - start) if end > start else None, here.waited() / busy if busy else None,
                ))  # fmt: skip
    return table(_PHASES, sorted(found, key=lambda row: (row[1], row[2])))


def _grouped(rows: Any, keys: Sequence[str]) -> list[tuple[tuple[str, ...], Any]]:
    """The rows of each group, by its values of the keys."""
    import pyarrow.compute as pc

    found = []
    for group in rows.group_by(list(keys)).aggregate([]).select(list(keys)).to_pylist():
        mask = None
        for key in keys:
            same = pc.equal(rows[key], group[key])
            mask = same if mask is None else pc.and_(mask, same)
        found.append((tuple(group[key] for key in keys), rows.filter(mask)))
    return found


def _array(column: Any) -> Any:
    """A column as one array."""
    import pyarrow as pa

    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return pa.concat_arrays(whole.chunks) if isinstance(whole, pa.ChunkedArray) else whole


def _sorted(column: Any) -> Any:
    import pyarrow.compute as pc

    values = _array(column)
    return values.take(pc.sort_indices(values))


def _rank(ordered: Any, fraction: tuple[int, int]) -> int:
    """The value of rank ``ceil(fraction * count)``."""
    rank = max(-(-len(ordered) * fraction[0] // fraction[1]), 1)
    return int(ordered[rank - 1].as_py())


def _failed(rows: Any) -> int:
    import pyarrow.compute as pc

    return int(pc.sum(pc.not_equal(rows["status"], OK)).as_py() or 0)


def _bytes(rows: Any) -> int:
    """The sum of the lengths, which may exceed 64 bits in a damaged trace."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return int(pc.sum(rows["length"].cast(pa.decimal128(20, 0))).as_py() or 0)


def _bin(times: Any, width: int) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.divide(_array(times), pa.scalar(width, pa.int64()))
