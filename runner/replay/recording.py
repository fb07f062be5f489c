"""A recording: the trace of a run with virtual time, as the exits to compare with and to answer from."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import tracer
from runner.devices.asked import asked
from runner.replay.dma import Transfer, Transfers
from tracer.format.errors import TraceError
from vmspec.schema import toml
from vmspec.trace import keys
from vmspec.trace.inputs import NMI
from vmspec.trace.record import FLAGS

COLUMNS = (
    "seq", "vcpu", "reason", "rip", "addr", "size", "count", "direction", "data", "payload", "device", "region",
    "flags", "vector",
)  # fmt: skip
RUN_AGAIN = "record it again with this release of vmrun"


class Exit(NamedTuple):
    """An exit: the columns of its row (vmspec.trace.record), of which ``items`` is count, and all bytes that it
    moved."""

    seq: int
    reason: str
    rip: int
    addr: int
    size: int
    items: int
    direction: str
    data: int
    bytes: bytes
    device: str
    region: int
    flags: int
    vector: int

    def has(self, flag: str) -> bool:
        """Whether it has this flag."""
        return bool(self.flags & FLAGS[flag])

    def loads_tsc(self, device: str) -> bool:
        """Whether it loads the TSC, which is its data, from this device."""
        return self.device == device and self.has("PUBLISHED") and (self.size, self.items) == (1, 1)


class Came(NamedTuple):
    """An input that came at an exit: bytes for a port of the device with that name, a command to the device (``port``
    is None, ``data`` its words), or an NMI, which has no device. ``clock`` is the guest's time then, 0 in traces of
    earlier releases."""

    device: str
    port: int | None
    data: bytes
    clock: int = 0


class Recording(NamedTuple):
    """What a run did. ``inputs`` came at the exits with those numbers, in order. ``spec`` is the text of the resolved
    spec, ``end`` how the run ended (vmspec.trace.ends). ``dma`` is what devices did to the guest's memory."""

    path: Path
    exits: Sequence[Exit]
    inputs: Mapping[int, Sequence[Came]]
    spec: str
    end: str
    dma: Iterable[Transfer] = ()

    @classmethod
    def of(cls, path: Path) -> Self:
        """The recording in a trace's file. Raises TraceError, which says why a trace is none."""
        trace = tracer.load(path)
        time = _check(trace)
        exits = [_exit(path, row) for batch in trace.batches(list(COLUMNS)) for row in batch.to_pylist()]
        for number, exit in enumerate(exits):
            if exit.seq != number:
                raise TraceError(f"{path}: exit {number} is missing, so the run cannot be replayed")
            if exit.has("GAP"):
                raise TraceError(f'{path}: exits before exit {number} are missing: record it with trace.full = "wait"')
        if not exits:
            raise TraceError(f"{path}: it has no exits: there is nothing to replay")
        result = (trace.summary or {}).get("result")
        end = str(result.get("kind", "")) if isinstance(result, dict) else ""
        inputs = _inputs(trace, len(exits))
        dma = Transfers(trace.tables.need("dma"), len(exits)) if time.get("dma") else ()
        return cls(path, exits, inputs, trace.metadata[keys.SPEC], end, dma)


def _check(trace: tracer.Trace) -> Mapping[str, object]:
    """What the metadata says of the guest's time. Raises TraceError if the trace is no recording of a run with virtual
    time."""
    path, metadata = trace.path, trace.metadata
    if keys.MERGED in metadata:
        raise TraceError(f"{path}: it has several machines; replay the trace of one")
    try:
        time = json.loads(metadata.get(keys.TIME, "{}"))
    except ValueError:
        time = {}
    if not isinstance(time, dict) or time.get("kind") != "virtual" or keys.SPEC not in metadata:
        raise TraceError(f'{path}: only runs with virtual time can be replayed: record one with vm.time = "virtual"')
    if time.get("recording") is False:
        message = "it lacks what its virtio devices wrote to the guest's memory: record it with trace.inputs = true"
        raise TraceError(f"{path}: {message} (vmrun --set trace.inputs=true)")
    if time.get("recording") is not True:
        raise TraceError(f"{path}: it has no interrupts, as it is of an older vmrun: {RUN_AGAIN}")
    if keys.RESTORED in metadata:
        raise TraceError(f"{path}: its machine went on from a snapshot, so it cannot be replayed from its start")
    if not trace.complete:
        raise TraceError(f"{path}: the trace is not complete: {RUN_AGAIN}, or see vmtrace recover")
    return time


def _exit(path: Path, row: Mapping[str, object]) -> Exit:
    values = dict(row)
    if values.pop("vcpu") != 0:
        raise TraceError(f"{path}: it has several vCPUs, so it is no recording")
    data, payload, length = values["data"], values.pop("payload"), 0
    assert isinstance(data, int)
    assert isinstance(payload, bytes)
    match values["size"], values["count"]:
        case int(size), int(count):
            length = size * count
    if len(payload) not in (0, length):
        raise TraceError(f"{path}: exit {values['seq']} has {len(payload)} bytes of payload, and moves {length}")
    moved = payload or data.to_bytes(8, "little")[: min(length, 8)]
    if len(moved) != length:
        raise TraceError(f"{path}: exit {values['seq']} moves {length} bytes, and the trace has {len(moved)} of them")
    values["items"] = values.pop("count")
    return Exit(**values, bytes=moved)  # type: ignore[arg-type]


def _inputs(trace: tracer.Trace, exits: int) -> Mapping[int, Sequence[Came]]:
    """The inputs that matter to a replay: interrupts and timers follow from the exits with virtual time."""
    found: dict[int, list[Came]] = {}
    try:
        spec = toml.loads(trace.metadata[keys.SPEC])
    except (ValueError, RecursionError) as error:
        raise TraceError(f"{trace.path}: its spec is not TOML: {error}") from error
    match spec:
        case {"trace": {"inputs": True}}:
            rows = trace.tables.need("inputs").table.to_pylist()
        case _:
            return found
    for row in rows:
        match row["kind"]:
            case "bytes":
                came = Came(row["device"], row["value"], row["data"], row["clock"])
            case "command" if row["data"] == NMI.format(0).encode():
                came = Came("", 0, b"", row["clock"])
            case "command" if asked(row["data"].decode(errors="replace")) is not None:
                came = Came(row["device"], None, row["data"], row["clock"])
            case "command":
                raise TraceError(f"{trace.path}: input {row['data']!r} is unknown: use a newer vmrun")
            case _:
                continue
        if row["seq"] >= exits:
            continue  # it came after the last exit
        found.setdefault(row["seq"], []).append(came)
    return found
