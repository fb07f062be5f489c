"""Several traces as one, in the order of the host's time.

A merged trace is a trace: its vCPUs are numbered on from source to source, its devices are called MACHINE/DEVICE, its
time 0 is the earliest source's. ``seq`` is still the number of the exit on its vCPU. The metadata key ``vmrun.merged``
names the sources; the summary's lists are the sources' in their order.
"""

import json
import operator
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from tracer.analysis.account import Account, account
from tracer.format.errors import TraceError
from tracer.format.schema import schema_names, schema_of
from tracer.read.metadata import machine_name, read_json
from tracer.read.reader import Trace
from tracer.record.rewrite import in_order, times, write_file
from vmspec.host.pathtext import to_text
from vmspec.host.printable import printable
from vmspec.trace import keys
from vmspec.trace.record import COLUMNS, EXITS, NO_DEVICE

CLOCKS = ("trace_ns", "monotonic_ns")
DEVICE_CODES, VCPUS = 1 << 15, 1 << 16  # the limits of a trace's codes


@frozen
class Source:
    """One of the traces: its account of time, the ``name`` of its machine, the number of the first of its ``vcpus``
    vCPUs, and its shift in ns."""

    trace: Trace
    account: Account
    name: str
    first_vcpu: int
    vcpus: int
    shift: int

    @property
    def devices(self) -> tuple[str, ...]:
        """Its devices' names in the merged trace."""
        return tuple(f"{self.name}/{device}" for device in self.trace.devices)


def merge(traces: Sequence[Trace], target: Path, *, by_start: bool = False) -> int:
    """Write the traces' rows to ``target``, in the order of the host's time; return the number of rows.

    ``by_start`` sets all times 0 equal instead, for traces of different hosts. Raises TraceError for traces whose
    clocks are not one host's, and if the file cannot be written.
    """
    import pyarrow as pa

    sources = _sources(traces, by_start)
    devices = sum(len(source.devices) for source in sources)
    if devices >= DEVICE_CODES or sources[-1].first_vcpu + sources[-1].vcpus > VCPUS:
        raise TraceError(f"too many machines: a trace numbers {DEVICE_CODES - 1:,} devices and {VCPUS:,} vCPUs")
    schema = schema_of(EXITS, _metadata(sources))
    names = schema_names(schema)
    try:
        return write_file(target, lambda: _interleaved(sources, schema, names), schema, _summary(sources))
    except (OSError, pa.ArrowException) as error:
        raise TraceError(f"cannot write {target}: {error}") from error


def machines(metadata: Mapping[str, str]) -> dict[int, str]:
    """The machine of each vCPU of a merged trace, from its metadata; empty for any other trace, or if that is
    damaged."""
    found: dict[int, str] = {}
    try:
        for one in read_json(metadata.get(keys.MERGED, "[]")):
            first, count = operator.index(one["first_vcpu"]), operator.index(one["vcpus"])
            if not 0 <= first <= first + count <= VCPUS or len(found) + count > VCPUS:
                return {}
            found |= dict.fromkeys(range(first, first + count), str(one["name"]))
    except (ValueError, TypeError, KeyError):
        return {}
    return found


def _sources(traces: Sequence[Trace], by_start: bool) -> list[Source]:
    shifts = [0] * len(traces) if by_start else _shifts(traces)
    sources: list[Source] = []
    first = 0
    for trace, name, shift in zip(traces, _names(traces), shifts, strict=True):
        times = account(trace)
        count = 1 + max(times.vcpus, default=0)
        sources.append(Source(trace, times, name, first, count, shift))
        first += count
    return sources


def _shifts(traces: Sequence[Trace]) -> list[int]:
    """The ns to add to each trace's times, so that they count from the earliest one's start."""
    starts: list[int] = []
    rates: set[int] = set()
    for trace in traces:
        start, khz = trace.clock.get("tsc_start"), trace.clock.get("tsc_khz")
        if not isinstance(start, int) or not isinstance(khz, int) or start < 0 or khz <= 0:
            raise TraceError(f"{trace.path} has no clock of its host; use --by-start to align the starts instead")
        starts.append(start)
        rates.add(khz)
    hosts = {json.dumps(trace.host, sort_keys=True) for trace in traces}
    if len(rates) > 1 or len(hosts) > 1:
        what = "clocks run at different rates" if len(rates) > 1 else "facts about the host differ"
        raise TraceError(
            f"these traces are from different hosts ({what}); use --by-start to align their starts instead"
        )
    shifts = [(start - min(starts)) * 1_000_000 // max(rates) for start in starts]
    if max(shifts) >= 1 << 62:
        raise TraceError("these traces are from different boots of the host; use --by-start to align their starts")
    return shifts


def _names(traces: Sequence[Trace]) -> list[str]:
    """A name for each machine: the spec's; the file's if two have one name; with a number if even those agree."""
    stems = [printable(trace.path.stem) for trace in traces]
    names = [machine_name(trace.spec) or stem for trace, stem in zip(traces, stems, strict=True)]
    names = [stem if names.count(name) > 1 else name for stem, name in zip(stems, names, strict=True)]
    names = [name.replace("/", "_") for name in names]
    return [
        f"{name}-{names[:index].count(name) + 1}" if names.count(name) > 1 else name for index, name in enumerate(names)
    ]


def _metadata(sources: Sequence[Source]) -> dict[str, str]:
    merged = [
        {
            "name": source.name,
            "file": to_text(source.trace.path),
            "first_vcpu": source.first_vcpu,
            "vcpus": source.vcpus,
            "shift_ns": source.shift,
            "metadata": source.trace.metadata,
            "summary": source.trace.summary,
        }
        for source in sources
    ]
    first = min(sources, key=lambda source: source.shift).trace.metadata
    shared: dict[str, str] = {
        key: first[key]
        for key in (keys.HOST, keys.CLOCK)
        if key in first and (key == keys.CLOCK or all(s.trace.metadata.get(key) == first[key] for s in sources))
    }
    devices = [device for source in sources for device in source.devices]
    return {keys.MERGED: json.dumps(merged), keys.DEVICES: json.dumps(devices), **shared}


def _summary(sources: Sequence[Source]) -> dict[str, Any]:
    """The summaries joined: lists by vCPU one after another, padded if a source has none."""
    closing = [source.trace.summary or {} for source in sources]
    summary: dict[str, Any] = {
        "complete": all(source.trace.complete for source in sources),
        "result": {"kind": "merged", "status": None},
    }
    summary["duration_ns"] = max(source.account.end + source.shift for source in sources)
    for key in ("start", "stop", "open"):
        times = [
            (source.shift, getattr(source.account.vcpus[vcpu], key) if vcpu in source.account.vcpus else None)
            for source in sources
            for vcpu in range(source.vcpus)
        ]
        summary[f"{key}_ns"] = [None if time is None else time + shift for shift, time in times]
    summary["paused_ns"] = [
        source.account.vcpus[vcpu].paused_ns if vcpu in source.account.vcpus else 0
        for source in sources
        for vcpu in range(source.vcpus)
    ]
    for key in ("rows", "dropped", "interrupted"):
        lists: list[Any] = [one.get(key) for one in closing]
        if all(isinstance(values, list) and len(values) == s.vcpus for values, s in zip(lists, sources, strict=True)):
            summary[key] = [value for values in lists for value in values]
    clocks = [one["clocks"] for one in closing if isinstance(one.get("clocks"), dict)]
    if len(clocks) == len(sources) and all(isinstance(one.get(name), int) for one in clocks for name in CLOCKS):
        summary["clocks"] = {name: sum(one[name] for one in clocks) for name in CLOCKS}  # their mean rate
    stats = [one["stats"] for one in closing if isinstance(one.get("stats"), dict)]
    for edge in ("start", "end"):
        lists = [one.get(edge) for one in stats]
        if len(lists) == len(sources) and all(isinstance(one, list) for one in lists):
            summary.setdefault("stats", {})[edge] = [counters for one in lists for counters in one]
    return summary


def _interleaved(sources: Sequence[Source], schema: Any, names: Mapping[str, Any]) -> Iterator[Any]:
    """Rows of all sources in order; at any time one batch of each is held."""
    import pyarrow as pa
    import pyarrow.compute as pc

    streams = [_renamed(source, schema, names) for source in sources]
    held: list[Any] = [next(stream, None) for stream in streams]
    while any(batch is not None for batch in held):
        # Up to the earliest of the batches' ends, no other row can come any more.
        floor = min(times(batch)[-1] for batch in held if batch is not None)
        pieces = []
        for index, batch in enumerate(held):
            if batch is None:
                continue
            ready = bisect_right(times(batch), floor)
            if ready:
                pieces.append(batch.slice(0, ready))
            held[index] = batch.slice(ready) if ready < batch.num_rows else next(streams[index], None)
        table = pa.Table.from_batches(pieces, schema=schema).combine_chunks()
        if len(pieces) > 1:
            table = table.take(pc.sort_indices(table["t_exit"])).combine_chunks()  # a stable sort
        yield from table.to_batches()


def _renamed(source: Source, schema: Any, names: Mapping[str, Any]) -> Iterator[Any]:
    """A source's batches in order, with the merged trace's vCPUs, devices and times."""
    import pyarrow as pa
    import pyarrow.compute as pc

    places = {name: index for index, name in enumerate(names["device"].to_pylist())}
    for batch in in_order(source.trace.batches):
        arrays = []
        for column in COLUMNS:
            array = batch[column.name]
            match column.name:
                case "vcpu":
                    array = pc.add(array, pa.scalar(source.first_vcpu, pa.uint16()))
                case "t_exit" | "t_entry":
                    array = pc.add(array, pa.scalar(source.shift, pa.int64()))
                case "device":
                    array = recoded(array, names["device"], lambda name: places[_merged_name(source, name)])
                case "reason" | "direction" as name:
                    array = recoded(array, names[name], names[name].to_pylist().index)
            arrays.append(array)
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _merged_name(source: Source, device: str) -> str:
    return device if device == NO_DEVICE else f"{source.name}/{device}"


def recoded(array: Any, names: Any, code: Any) -> Any:
    """A dictionary array with other codes: ``code`` returns the index into ``names`` for each of its old names.

    Raises TraceError for a used name without a code.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    used = set(pc.unique(array.indices).to_pylist())
    codes = []
    for index, name in enumerate(array.dictionary.to_pylist()):
        try:
            codes.append(code(name) if index in used else 0)
        except (KeyError, ValueError) as error:
            raise TraceError(f"a row has the name {printable(repr(name))}, which this version does not know") from error
    type_ = pa.int16() if len(names) > 127 or array.type.index_type == pa.int16() else pa.int8()
    indices = pc.take(pa.array(codes, type_), array.indices)
    return pa.DictionaryArray.from_arrays(indices, names)
