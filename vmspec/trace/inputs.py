"""The table of inputs from outside the machine, stamped with the time and the guest's exits."""

from typing import Literal, NamedTuple, get_args

from vmspec.trace import keys
from vmspec.trace.record import NO_DEVICE
from vmspec.trace.table import Column, Names, Table

# bytes: of the host, to a device; timer: the time that a device requested; interrupt: raised or lowered by a thread
# that runs no vCPU; end: a request from outside to end the run; pause, resume: the machine was paused or resumed;
# command: what the host has asked of a device, such as pressing a button; mark: a note of the user's, without effect.
Kind = Literal["bytes", "timer", "interrupt", "end", "pause", "resume", "command", "mark"]
KINDS = get_args(Kind)
NOBODY = -1  # no device
# The words of commands that a replay knows. After SysRq's comes the key, after the size's columns and rows: 80x24.
NMI, POWER_BUTTON, BREAK, SYSRQ, SIZE = "NMI for vCPU {}", "press the power button", "break", "SysRq ", "size "
LOWERED, RAISED, PULSED = 0, 1, 2  # values of an interrupt


class Input(NamedTuple):
    """One input, a row; ``device`` is an index of the plan's devices, or :data:`NOBODY`."""

    t: int
    vcpu: int
    seq: int
    kind: Kind
    device: int
    value: int
    data: bytes
    clock: int = 0


COLUMNS = (
    Column("t", "int64", "ns", "when, since the machine started, on the clock of t_exit and t_entry"),
    Column("vcpu", "uint16", "", "index of the vCPU whose exits seq counts: the first one"),
    Column("seq", "uint64", "number", "exits that the vCPU had completed: the input came before exit seq was complete"),
    Column("kind", "int8", "", "bytes, timer, interrupt, pause, resume, command, mark or end", Names(KINDS)),
    Column(
        "device", "int16", "", "device that received the input, or that interrupts", Names((NO_DEVICE,), keys.DEVICES)
    ),
    Column(
        "value",
        "uint8",
        "",
        "interrupt: 1 rises, 0 falls, 2 an edge or a message; bytes: the device's port; else 0",
    ),
    Column("data", "binary", "bytes", "the host's bytes; the kind of an end, the words of a command or a mark"),
    Column("clock", "uint64", "number", "virtual time: the guest's ns when the input came; else 0", later=True),
)
INPUTS = Table(
    "inputs",
    what="inputs",
    format="inputs-1",
    time="t",
    columns=COLUMNS,
    metadata=keys.kinds(keys.CLOCK, keys.DEVICES),
    summary={"complete": "flag", "rows": "count"},
    switch="trace.inputs",
)
