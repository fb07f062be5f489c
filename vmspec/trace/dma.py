"""The table of DMA: what devices write to the guest's memory and read there, with the guest's exits. A machine with
virtual time records it, whose run can then be replayed without devices."""

from typing import NamedTuple

from vmspec.trace import keys
from vmspec.trace.record import NO_DEVICE
from vmspec.trace.table import Column, Names, Table

DIRECTIONS = ("write", "read")  # of the device


class Transfer(NamedTuple):
    """One transfer, a row; ``device`` is an index of the plan's devices."""

    t: int
    vcpu: int
    seq: int
    device: int
    direction: str
    addr: int
    data: bytes


COLUMNS = (
    Column("t", "int64", "ns", "when, since the machine started, on the clock of t_exit and t_entry"),
    Column("vcpu", "uint16", "", "index of the vCPU in whose thread the device acted"),
    Column(
        "seq", "uint64", "number", "exits that the vCPU had completed: the transfer came before exit seq was complete"
    ),
    Column("device", "int16", "", "device whose transfer it is", Names((NO_DEVICE,), keys.DEVICES)),
    Column("direction", "int8", "", "write (the device writes to memory) or read (it reads there)", Names(DIRECTIONS)),
    Column("addr", "uint64", "address", "guest-physical address of the first byte"),
    Column("data", "binary", "bytes", "the bytes, at most 65,536; a longer transfer is several rows"),
)
DMA = Table(
    "dma",
    what="DMA transfers",
    format="dma-1",
    time="t",
    columns=COLUMNS,
    metadata=keys.kinds(keys.CLOCK, keys.DEVICES),
    summary={"complete": "flag", "rows": "count"},
    switch="trace.inputs",
    where="in a machine with virtual time and virtio or Python devices",
)
