"""Chrome's trace event format, JSON: for chrome://tracing, Perfetto's UI and speedscope.

"Trace Event Format" (Google, 2016): an object with ``traceEvents``; of these "X" are complete events with ``ts`` and
``dur`` in microseconds, "i" instants, "M" metadata that names processes and threads. Process 1 has a thread for each
vCPU; process 2 one for each device and vCPU that used it, and one for the console's lines.
"""

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, BinaryIO

from tracer.console import Console
from tracer.export.rows import Exit, exits, flag_text, title
from tracer.reader import Trace
from tracer.schema import NO_DEVICE

VM, DEVICES = 1, 2  # processes
PIECE = 4096  # events that are written at once


def write(trace: Trace, out: BinaryIO) -> None:
    """Write all exits, the time in the guest between them, and the console's lines."""
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
    return {key: value for key, value in trace.metadata.items() if key != "vmrun.devices"}


def _events(trace: Trace) -> Iterator[str]:
    """Events as JSON."""
    yield _name("process_name", VM, 0, "virtual machine")
    yield _name("process_name", DEVICES, 0, "devices")
    threads: dict[tuple[str, int], int] = {}  # of the devices, by device and vCPU
    entered: dict[int, int] = {}
    for row in exits(trace):
        if row.vcpu not in entered:
            yield _name("thread_name", VM, row.vcpu, f"vCPU {row.vcpu}")
        elif row.t_exit > entered[row.vcpu]:
            yield _slice("KVM_RUN", VM, row.vcpu, entered[row.vcpu], row.t_exit, "{}")
        entered[row.vcpu] = row.t_entry
        arguments = _arguments(row)
        yield _slice(title(row.reason, row.device, row.direction), VM, row.vcpu, row.t_exit, row.t_entry, arguments)
        if row.device != NO_DEVICE:
            thread = threads.get((row.device, row.vcpu))
            if thread is None:
                thread = threads[row.device, row.vcpu] = len(threads) + 1
                yield _name("thread_name", DEVICES, thread, f"{row.device}, vCPU {row.vcpu}")
            name = f"{row.direction} {row.addr:#x}"
            yield _slice(name, DEVICES, thread, row.t_exit, row.t_entry, arguments)
    console = Console(trace, trace.devices)
    thread = len(threads) + 1
    for index, line in enumerate(console.lines()):
        if index == 0:
            yield _name("thread_name", DEVICES, thread, f"console ({console.device})")
        event = {"name": line.text or " ", "cat": "console", "ph": "i", "s": "t", "pid": DEVICES, "tid": thread}
        yield json.dumps(event | {"ts": line.t / 1000})


_text = lru_cache(1 << 12)(json.dumps)


def _slice(name: str, process: int, thread: int, start: int, end: int, arguments: str) -> str:
    return (
        f'{{"name": {_text(name)}, "cat": "exit", "ph": "X", "pid": {process}, "tid": {thread}, '
        f'"ts": {start / 1000}, "dur": {max(end - start, 0) / 1000}, "args": {arguments}}}'
    )


def _arguments(row: Exit) -> str:
    """Numbers of 64 bits as text: JavaScript has but 53."""
    values: dict[str, Any] = {"seq": row.seq, "addr": f"{row.addr:#x}", "size": row.size, "count": row.items}
    values |= {"data": f"{row.data:#x}", "rip": f"{row.rip:#x}", "flags": flag_text(row.flags)}
    if row.payload:
        values["payload"] = row.payload.hex()
    return json.dumps(values)


def _name(what: str, process: int, thread: int, name: str) -> str:
    return json.dumps({"name": what, "ph": "M", "pid": process, "tid": thread, "args": {"name": name}})
