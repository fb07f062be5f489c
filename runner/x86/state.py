"""A vCPU's register state as plain values; a loader returns it and the machine sets it. No KVM here."""

from typing import NamedTuple

from vmspec.registers.system import CR0_CD, CR0_ET, CR0_NW


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
    granularity: bool = False  # limit is in pages
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


RESET_RIP = 0xFFF0


def is_reset(state: State) -> bool:
    """Whether this is the state after RESET or INIT, as KVM sets it (Intel SDM volume 3, table 10-1; AMD APM volume 2,
    14.1.3). RDX holds the processor's signature; INIT does not change CR0's CD and NW.

    A guest that brings itself into this state cannot be distinguished from one whose vCPU was reset.
    """
    registers, segments = dict(state.registers), state.segments
    registers.pop("rdx", None)
    cs = segments["cs"]
    return (
        (registers.pop("rip", 0), registers.pop("rflags", 0)) == (RESET_RIP, 2)
        and not any(registers.values())
        and (cs.selector, cs.base, cs.limit) == (0xF000, 0xFFFF0000, 0xFFFF)
        and all(not (segments[name].selector or segments[name].base) for name in ("ds", "es", "fs", "gs", "ss"))
        and state.cr0 & ~(CR0_NW | CR0_CD) == CR0_ET
        and not (state.cr3 or state.cr4 or state.efer)
    )
