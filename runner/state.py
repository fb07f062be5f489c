"""A vCPU's register state as plain values: what a loader returns and the machine sets. No KVM here."""

from typing import NamedTuple


class Segment(NamedTuple):
    """A segment register with its hidden part (Intel SDM volume 3, 3.4.5); ``type`` is the 4-bit type field."""

    selector: int = 0
    base: int = 0
    limit: int = 0xFFFF
    type: int = 0
    present: bool = True
    dpl: int = 0
    db: bool = False  # default operation size: 32-bit
    s: bool = True  # code or data, not system
    long: bool = False  # 64-bit code
    granularity: bool = False  # limit was given in pages
    available: bool = False
    unusable: bool = False


class Table(NamedTuple):
    """GDTR or IDTR."""

    base: int = 0
    limit: int = 0xFFFF


class State(NamedTuple):
    """General registers by name (rax ... r15, rip, rflags) and the system registers of one vCPU."""

    registers: dict[str, int]
    segments: dict[str, Segment]  # cs ds es fs gs ss tr ldt
    gdt: Table = Table()
    idt: Table = Table()
    cr0: int = 0
    cr3: int = 0
    cr4: int = 0
    efer: int = 0
