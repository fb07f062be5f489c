"""A recording's accesses, fed to today's device models: whether they answer, interrupt and wake as they did."""

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

from runner.machine.virtual import PATIENCE
from runner.replay.modelled import Modelled
from runner.replay.recording import Came, Exit, Recording
from vmspec.trace.ends import DEVICE_ENDS

MSR_TSC = 0x10
Row = Mapping[str, Any]


def compared(recording: Recording, machine: Modelled | None = None) -> Iterator[Row]:
    """Every difference between a recording and the models of its machine: ``exit``, ``what``, ``recorded``,
    ``modelled``, the last two as text. Raises SpecError, DeviceError."""
    if machine is None:
        with closing(Modelled(recording)) as own:
            yield from compared(recording, own)
        return
    last = len(recording.exits) - 1
    for number, exit in enumerate(recording.exits):
        for what, recorded, modelled in _exit(machine, recording, exit, last=number == last):
            yield {"exit": number, "what": what, "recorded": recorded, "modelled": modelled}
        if machine.ended is not None and number < last:
            yield {"exit": number, "what": "end", "recorded": "goes on", "modelled": machine.ended}
            return
    if recording.end in DEVICE_ENDS and recording.end not in ("halt", machine.ended):
        yield {"exit": last, "what": "end", "recorded": recording.end, "modelled": machine.ended or "goes on"}


def _exit(machine: Modelled, recording: Recording, exit: Exit, *, last: bool) -> Iterator[tuple[str, str, str]]:
    if exit.reason == "intr":
        return
    machine.passes(exit)
    yield from machine.begin(exit.seq)
    if machine.loads_tsc(exit) and machine.now != exit.data:
        yield f"read of the TSC ({exit.device})", f"{exit.data} ns", f"{machine.now} ns"
        machine.now = exit.data
    answer = None if machine.loads_tsc(exit) else _answer(machine, exit)
    if answer is not None and answer != exit.bytes:
        yield f"read of {exit.addr:#x} ({exit.device})", exit.bytes.hex(" "), answer.hex(" ")
    if last:
        return  # what would have come of it did not
    _settle(machine, exit, deque(recording.inputs.get(exit.seq, ())))
    if exit.reason == "hlt" and machine.now != exit.data:
        if machine.foresees:
            yield "time of waking", f"{exit.data} ns", f"{machine.now} ns"
        machine.now = exit.data
    yield from _interrupt(machine, exit)
    yield from machine.end()


def _settle(machine: Modelled, exit: Exit, inputs: deque[Came]) -> None:
    """Let an exit have its consequences, as virtual_next() in runner/native/virtual.c does: input, ticks, and for a
    halted guest the time of the next timer, or without one that of the next input, up to when it woke."""
    halted, timers = exit.reason == "hlt", 0  # that did not wake it
    while machine.now <= exit.data or not halted:
        while inputs and inputs[0].clock <= machine.now:
            _receive(machine, inputs.popleft())
        machine.tick()
        if not halted or machine.output:
            break
        due = machine.deadline if timers < PATIENCE else None
        if due is not None:
            timers += 1
        elif inputs:
            due = inputs[0].clock
        else:
            machine.ended = machine.ended or ("halt" if timers == PATIENCE else None)
            break
        if machine.now == exit.data and due > machine.now:
            break  # something else woke it
        machine.now = max(machine.now, due)
    for came in inputs:
        _receive(machine, came)


def _receive(machine: Modelled, came: Came) -> None:
    machine.receive(came.device, came.port, came.data)


def _interrupt(machine: Modelled, exit: Exit) -> Iterator[tuple[str, str, str]]:
    if exit.vector and not machine.output:
        machine.presume(exit.vector)
    if exit.vector and machine.output:
        if (vector := machine.acknowledge()) != exit.vector:
            yield "interrupt", f"{exit.vector:#x}", f"{vector:#x}"
    elif exit.vector:
        yield "interrupt", f"{exit.vector:#x}", "none"
    if machine.output != exit.has("WINDOW") and machine.foresees:
        names = {False: "none", True: "waits"}
        yield "interrupt that waits", names[exit.has("WINDOW")], names[machine.output]


def _answer(machine: Modelled, exit: Exit) -> bytes | None:
    """Let the devices have the access; the bytes that a read gets, None if no model decides them."""
    match exit.reason, exit.direction:
        case "rdmsr", "read":
            return (machine.now if exit.addr == MSR_TSC else 0).to_bytes(8, "little")
        case ("io" | "mmio") as reason, "read" | "write":
            space = {"io": "port", "mmio": "mmio"}[reason]
        case _:
            return None
    data, at, known = bytearray(exit.bytes), 0, True
    while at < len(data):
        within = at % exit.size
        place = machine.place(space, exit.addr + within)
        size = min(exit.size - within, machine.room(space, exit.addr + within) if place is None else place.room)
        while size & (size - 1):
            size &= size - 1
        part = slice(at, at + size)
        if place is None:
            if exit.direction == "read":
                data[part] = b"\xff" * size
        elif exit.direction == "write":
            machine.write(place, size, int.from_bytes(data[part], "little"))
        elif (value := machine.read(place, size)) is None:
            known = False
        else:
            data[part] = value.to_bytes(size, "little")
        at += size
    return bytes(data) if exit.direction == "read" and known else None
