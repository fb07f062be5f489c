"""Several traces as one, in the order of the host's time.

A merged trace is a trace: its vCPUs are numbered on from source to source, its devices are called MACHINE/DEVICE, its
time 0 is the earliest source's. ``seq`` is still the number of the exit on its vCPU. The metadata key ``vmrun.merged``
names the sources; the summary's lists are the sources' in their order. Each table that a source has beside its exits
becomes one beside the merged exits.
"""

import json
import operator
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from zlib import crc32

from attrs import frozen

from tracer.analysis.account import Account, account
from tracer.format.errors import TraceError
from tracer.format.schema import schema_names, schema_of, table_of
from tracer.read.metadata import machine_name, read_json
from tracer.read.reader import Trace
from tracer.read.tablefile import TableFile
from tracer.record.rewrite import in_order, times, write_file
from vmspec.host.pathtext import to_text
from vmspec.host.printable import printable
from vmspec.trace import keys
from vmspec.trace.files import BESIDE, TRACE, table_path
from vmspec.trace.record import EXITS, NO_DEVICE
from vmspec.trace.table import TIME, VCPU, Column, Table
from vmspec.trace.tables import TABLES

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


Part = tuple[Source, TableFile]  # a table of a source


def merge(traces: Sequence[Trace], target: Path, *, by_start: bool = False) -> dict[str, int]:
    """Write the traces' rows to ``target``, and the tables beside them beside it, in the order of the host's time;
    return the number of rows of each table.

    ``by_start`` sets all times 0 equal instead, for traces of different hosts. Raises TraceError for traces whose
    clocks are not one host's, and if a file cannot be written.
    """
    import pyarrow as pa

    sources = _sources(traces, by_start)
    devices = sum(len(source.devices) for source in sources)
    if devices >= DEVICE_CODES or sources[-1].first_vcpu + sources[-1].vcpus > VCPUS:
        raise TraceError(f"too many machines: a trace numbers {DEVICE_CODES - 1:,} devices and {VCPUS:,} vCPUs")
    # All are opened before anything is written, and the trace itself comes last.
    found = {name: _parts(sources, name) for name in (*BESIDE, TRACE)}
    rows: dict[str, int] = {}
    for name, parts in found.items():
        if not parts:
            continue
        schema = schema_of(TABLES[name], _metadata(sources, parts, TABLES[name]))
        summary = _summary(sources) if name == TRACE else _summary_beside(sources, parts, TABLES[name])
        path = table_path(target, name)
        try:
            rows[name] = write_file(path, partial(_interleaved, parts, schema), schema, summary)
        except (OSError, pa.ArrowException) as error:
            raise TraceError(f"cannot write {path}: {error}") from error
    return rows


def _parts(sources: Sequence[Source], name: str) -> list[Part]:
    """One table of those sources that have it."""
    return [(source, table) for source in sources if (table := source.trace.tables.get(name)) is not None]


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


def _metadata(sources: Sequence[Source], parts: Sequence[Part], table: Table) -> dict[str, str]:
    """Names of all parts; the clock of the source that began first; and what all parts say alike. What the metadata of
    the exits says of each machine stands in ``vmrun.merged``."""
    metadata = [part.metadata for _, part in parts]
    alike = {key: text for key, text in metadata[0].items() if all(one.get(key) == text for one in metadata)}
    merged = _merged(sources)
    if table is EXITS:
        alike = {key: alike[key] for key in (keys.HOST,) if key in alike} | {keys.MERGED: merged}
        if regions := _regions(sources):
            alike[keys.REGIONS] = json.dumps(regions)
    # Readers take a table beside a trace for the trace's if their clocks are the same, and other traces that were
    # merged with the earliest source have that source's clock, too.
    clock = min(sources, key=lambda source: source.shift).trace.clock | {"merged": crc32(merged.encode())}
    names = {key: json.dumps(list(dict.fromkeys(_listed(parts, key)))) for key in table.keys}
    return alike | {keys.CLOCK: json.dumps(clock)} | names


def _listed(parts: Sequence[Part], key: str) -> Iterator[str]:
    """The names that a key of the metadata lists, as they are called in the merged table."""
    for source, part in parts:
        yield from source.devices if key == keys.DEVICES else json.loads(part.metadata[key])


def _regions(sources: Sequence[Source]) -> dict[str, Any]:
    """The regions of all devices by their names in the merged trace; those of damaged metadata are left out."""
    found: dict[str, Any] = {}
    for source in sources:
        try:
            told = read_json(source.trace.metadata.get(keys.REGIONS, "{}"))
        except ValueError:
            continue
        if isinstance(told, dict):
            found |= {f"{source.name}/{device}": regions for device, regions in told.items()}
    return found


def _merged(sources: Sequence[Source]) -> str:
    """What came from where, in JSON."""
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
    return json.dumps(merged)


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
    summary["pauses_ns"] = [
        [[start + source.shift, end + source.shift] for start, end in source.account.vcpus[vcpu].pauses]
        if vcpu in source.account.vcpus
        else []
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
    summary["frames"] = {
        f"{source.name}/{device}": counts
        for source, one in zip(sources, closing, strict=True)
        for device, counts in one.get("frames", {}).items()
    }
    stats = [one["stats"] for one in closing if isinstance(one.get("stats"), dict)]
    for edge in ("start", "end"):
        lists = [one.get(edge) for one in stats]
        if len(lists) == len(sources) and all(isinstance(one, list) for one in lists):
            summary.setdefault("stats", {})[edge] = [counters for one in lists for counters in one]
    return summary


def _summary_beside(sources: Sequence[Source], parts: Sequence[Part], table: Table) -> dict[str, Any]:
    """The summaries of a table beside the exits joined, each value by its kind."""
    summary: dict[str, Any] = {}
    for key, kind in table.summary.items():
        values: list[Any] = [part.summary[key] for _, part in parts if part.summary and key in part.summary]
        if len(values) < len(parts):
            continue
        match kind:
            case "count":
                summary[key] = sum(values)
            case "counts" if [len(value) for value in values] == [source.vcpus for source in sources]:
                summary[key] = [count for value in values for count in value]
            case "code" if len(set(values)) == 1:
                summary[key] = values[0]
    return summary | {"complete": all(part.complete for _, part in parts)}


def _interleaved(parts: Sequence[Part], schema: Any) -> Iterator[Any]:
    """Rows of all parts in order; at any time one batch of each is held."""
    import pyarrow as pa
    import pyarrow.compute as pc

    time, names = table_of(schema).time, schema_names(schema)
    streams = [_renamed(*part, schema, names) for part in parts]
    held: list[Any] = [next(stream, None) for stream in streams]
    while any(batch is not None for batch in held):
        # Up to the earliest of the batches' ends, no other row can come any more.
        floor = min(times(batch, time)[-1] for batch in held if batch is not None)
        pieces = []
        for index, batch in enumerate(held):
            if batch is None:
                continue
            ready = bisect_right(times(batch, time), floor)
            if ready:
                pieces.append(batch.slice(0, ready))
            held[index] = batch.slice(ready) if ready < batch.num_rows else next(streams[index], None)
        table = pa.Table.from_batches(pieces, schema=schema).combine_chunks()
        if len(pieces) > 1:
            table = table.take(pc.sort_indices(table[time])).combine_chunks()  # a stable sort
        yield from table.to_batches()


def _renamed(source: Source, part: TableFile, schema: Any, names: Mapping[str, Any]) -> Iterator[Any]:
    """A part's batches in order, with the merged table's vCPUs, names and times."""
    import pyarrow as pa

    codes = {column: {name: code for code, name in enumerate(array.to_pylist())} for column, array in names.items()}
    for batch in in_order(part.batches, part.time):
        arrays = [
            _moved(batch[column.name], column, source)
            if column.names is None
            else recoded(batch[column.name], names[column.name], partial(_code, source, column, codes[column.name]))
            for column in part.definition.columns
        ]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _moved(array: Any, column: Column, source: Source) -> Any:
    """A column of numbers as the merged table has it (:class:`vmspec.trace.table.Table` says which are which)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if column.name == VCPU:
        return pc.add(array, pa.scalar(source.first_vcpu, array.type))
    return pc.add(array, pa.scalar(source.shift, array.type)) if column.type == TIME else array


def _code(source: Source, column: Column, codes: Mapping[str, int], name: str) -> int:
    """The merged table's code of a source's name."""
    of_device = column.names is not None and column.names.key == keys.DEVICES
    return codes[_merged_name(source, name) if of_device else name]


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
