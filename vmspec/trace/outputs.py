"""The table of outputs: what devices send to the host that no exit has. A virtio console's text is in guest memory, and
the exit is only its notification."""

from typing import NamedTuple

from vmspec.trace import keys
from vmspec.trace.record import NO_DEVICE
from vmspec.trace.table import Column, Names, Table

IN_EXITS = ("serial", "debug-port")  # kinds of device whose text is rebuilt from the exits


class Output(NamedTuple):
    """One output, a row; ``device`` is an index of the plan's devices."""

    t: int
    device: int
    port: int
    data: bytes


COLUMNS = (
    Column("t", "int64", "ns", "when the device took it, since the machine started, on the clock of t_exit"),
    Column("device", "int16", "", "device that sent it", Names((NO_DEVICE,), keys.DEVICES)),
    Column("port", "uint16", "", "0 for the device's console, n for the n-th of its ports"),
    Column("data", "binary", "bytes", "the bytes, as the guest wrote them"),
)
OUTPUTS = Table(
    "outputs",
    what="outputs",
    format="outputs-1",
    time="t",
    columns=COLUMNS,
    metadata=keys.kinds(keys.CLOCK, keys.DEVICES),
    summary={"complete": "flag", "rows": "count"},
    switch="trace.outputs",
)
