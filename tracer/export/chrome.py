"""Chrome's trace event format, JSON: for chrome://tracing, Perfetto's UI and speedscope.

"Trace Event Format" (Google, 2016): an object with ``traceEvents``. "X" are complete events with ``ts`` and ``dur`` in
microseconds, "i" instants, "M" metadata that names processes and threads. Process 1 has a thread for each vCPU. Process
2 has one for each device and vCPU that used it, and one for the console's lines. Process 3 has one for each vCPU with
its tracepoints, process 4 one for each virtio queue, or several where requests overlap; if they were recorded.
"""

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, BinaryIO

from tracer.export import requests, tracepoints
from tracer.export.rows import Exit, Stay, Targets, flag_text, stays, title
from tracer.read.console import Console
from tracer.read.reader import Trace
from vmspec.trace import keys
from vmspec.trace.record import NO_DEVICE

VM, DEVICES, KVM, REQUESTS = 1, 2, 3, 4  # processes
PIECE = 4096  # events written at a time


def write(trace: Trace, out: BinaryIO) -> None:
    """Write all exits, the time in KVM_RUN and in pauses between them and to the run's end, and the console's lines."""
    head = {"displayTimeUnit": "ns", "otherData": {"clock": "ns since the machine started", **_other(trace)}}
    out.write(json.dumps(head)[:-1].encode() + b', "traceEvents": [\n')
    pieces: list[str] = []
    first = True
    for event in _events(trace):
        pieces.append(event)
        if len(pieces) == PIECE:
            out.write((("" if first else ",\n") + ",\n".join(pieces)).encode())
            pieces, first = [], False
    out.write((("" if first or not pieces else ",\n") + ",\n".join(pieces) + "\n]}\n").encode())


def _other(trace: Trace) -> dict[str, str]:
    return {key: value for key, value in trace.metadata.items() if key != keys.DEVICES}


def _events(trace: Trace) -> Iterator[str]:
    """Events as JSON."""
    yield _name("process_name", VM, 0, "virtual machine")
    yield _name("process_name", DEVICES, 0, "devices")
    threads: dict[tuple[str, int], int] = {}  # of the devices, by device and vCPU
    targets = Targets(trace)
    known: set[int] = set()
    for row in stays(trace):
        if row.vcpu not in known:
            known.add(row.vcpu)
            yield _name("thread_name", VM, row.vcpu, f"vCPU {row.vcpu}")
        if isinstance(row, Stay):
            if row.stop > row.start:
                yield _slice(row.name, VM, row.vcpu, row.start, row.stop, "{}")
            continue
        target = targets.of(row)
        arguments = _arguments(row, target)
        yield _slice(title(row.reason, row.device, row.direction), VM, row.vcpu, row.t_exit, row.t_entry, arguments)
        if row.device != NO_DEVICE:
            thread = threads.get((row.device, row.vcpu))
            if thread is None:
                thread = threads[row.device, row.vcpu] = len(threads) + 1
                yield _name("thread_name", DEVICES, thread, f"{row.device}, vCPU {row.vcpu}")
            yield _slice(f"{row.direction} {target}", DEVICES, thread, row.t_exit, row.t_entry, arguments)
    console = Console(trace, trace.devices)
    thread = len(threads) + 1
    for index, line in enumerate(console.lines()):
        if index == 0:
            yield _name("thread_name", DEVICES, thread, f"console ({', '.join(console.devices)})")
        event = {"name": line.text or " ", "cat": "console", "ph": "i", "s": "t", "pid": DEVICES, "tid": thread}
        yield json.dumps(event | {"ts": line.t / 1000})
    yield from _tracepoints(trace)
    yield from _requests(trace)


def _requests(trace: Trace) -> Iterator[str]:
    """The requests of each queue."""
    threads: dict[tuple[str, int, int], int] = {}
    for one in requests.slices(trace):
        place = one.device, one.queue, one.lane
        if place not in threads:
            if not threads:
                yield _name("process_name", REQUESTS, 0, "requests")
            threads[place] = len(threads) + 1
            yield _name("thread_name", REQUESTS, threads[place], f"{one.device}, queue {one.queue}")
        yield _slice(one.name, REQUESTS, threads[place], one.start, one.stop, _facts(one.facts), "request")


def _tracepoints(trace: Trace) -> Iterator[str]:
    """What each vCPU did in KVM_RUN, with the events."""
    if trace.tracepoints is None:
        return
    yield _name("process_name", KVM, 0, "KVM")
    known: set[int] = set()
    for span in tracepoints.slices(trace):
        if span.vcpu not in known:
            known.add(span.vcpu)
            yield _name("thread_name", KVM, span.vcpu, f"vCPU {span.vcpu}, KVM")
        yield _slice(span.name, KVM, span.vcpu, span.start, span.stop, _facts(span.facts))
    for moment in tracepoints.moments(trace):
        event = {"name": moment.name, "cat": "kvm", "ph": "i", "s": "t", "pid": KVM, "tid": moment.vcpu}
        yield f'{json.dumps(event | {"ts": moment.t / 1000})[:-1]}, "args": {_facts(moment.facts)}}}'


def _facts(facts: Mapping[str, int | str]) -> str:
    """64-bit numbers as text: JavaScript keeps only 53 bits."""
    return json.dumps({name: f"{value:#x}" if isinstance(value, int) else value for name, value in facts.items()})


_text = lru_cache(1 << 12)(json.dumps)


def _slice(name: str, process: int, thread: int, start: int, end: int, arguments: str, category: str = "exit") -> str:
    return (
        f'{{"name": {_text(name)}, "cat": "{category}", "ph": "X", "pid": {process}, "tid": {thread}, '
        f'"ts": {start / 1000}, "dur": {max(end - start, 0) / 1000}, "args": {arguments}}}'
    )


def _arguments(row: Exit, target: str) -> str:
    """64-bit numbers as text: JavaScript keeps only 53 bits."""
    values: dict[str, Any] = {"seq": row.seq} | ({"what": target} if target else {})
    values |= {"addr": f"{row.addr:#x}", "size": row.size, "count": row.items}
    values |= {"data": f"{row.data:#x}", "rip": f"{row.rip:#x}", "flags": flag_text(row.flags)}
    if row.payload:
        values["payload"] = row.payload.hex()
    return json.dumps(values)


def _name(what: str, process: int, thread: int, name: str) -> str:
    return json.dumps({"name": what, "ph": "M", "pid": process, "tid": thread, "args": {"name": name}})
