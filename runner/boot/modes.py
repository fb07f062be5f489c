"""The register state of the start modes, and the tables in memory that go with it.

Intel SDM volume 3, chapters 2 to 4.
"""

import struct

from runner.x86.state import Segment, State, Table
from vmspec import layout
from vmspec.plan.plan import Entry
from vmspec.registers.system import CR0_CD, CR0_ET, CR0_NW, CR0_PE, CR0_PG, CR4_PAE, EFER_LMA, EFER_LME

GENERAL = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp",
           "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15")  # fmt: skip

PTE_PRESENT = 1 << 0
PTE_WRITABLE = 1 << 1
PTE_LARGE = 1 << 7  # in a page directory: a 2 MiB page
LARGE_PAGE = 2 << 20

CODE, DATA = 0b1011, 0b0011  # segment types: execute/read, read/write; both accessed
TSS_BUSY, LDT = 0b1011, 0b0010  # system segment types

RESET_CS = 0xF000  # after RESET its base is not 16 times the selector

# Selectors as the Linux boot protocol wants them (__BOOT_CS, __BOOT_DS); flat guests get the same.
CODE_SELECTOR, DATA_SELECTOR = 0x10, 0x18
FLAT_LIMIT = 0xFFFFFFFF


def _code(mode: str) -> Segment:
    long = mode == "long"
    return Segment(CODE_SELECTOR, limit=FLAT_LIMIT, type=CODE, db=not long, long=long, granularity=True)


_DATA = Segment(DATA_SELECTOR, limit=FLAT_LIMIT, type=DATA, db=True, granularity=True)
# KVM's entry checks require a task register; there is no LDT (Intel SDM volume 3, 27.3.1.2).
_SYSTEM = {"tr": Segment(type=TSS_BUSY, s=False), "ldt": Segment(type=LDT, s=False, unusable=True)}


def state(entry: Entry) -> State:
    """The state in which a vCPU starts at ``entry``. Interrupts are off. In protected and long mode the IDT is empty,
    so any fault before the guest loads its own IDT is a triple fault."""
    registers = {**dict.fromkeys(GENERAL, 0), "rflags": 2, **entry.registers, "rip": entry.rip}
    data = dict.fromkeys(("ds", "es", "fs", "gs", "ss"), Segment(type=DATA))
    if entry.mode == "reset":  # Intel SDM volume 3, table 10-1
        segments = {"cs": Segment(RESET_CS, layout.FIRMWARE_END - 0x10000, type=CODE), **data, **_SYSTEM}
        return State(registers, segments, cr0=CR0_NW | CR0_CD | CR0_ET)
    if entry.mode == "real":
        segments = {"cs": Segment(type=CODE), **data, **_SYSTEM}
        return State(registers, segments, idt=Table(0, 0x3FF), cr0=CR0_ET)
    segments = {"cs": _code(entry.mode), **dict.fromkeys(("ds", "es", "fs", "gs", "ss"), _DATA), **_SYSTEM}
    table = Table(layout.GDT, layout.GDT_SIZE - 1)
    if entry.mode == "protected":
        return State(registers, segments, table, Table(0, 0), CR0_PE | CR0_ET)
    return State(
        registers,
        segments,
        table,
        Table(0, 0),
        cr0=CR0_PG | CR0_PE | CR0_ET,
        cr3=layout.PAGE_TABLES,
        cr4=CR4_PAE,
        efer=EFER_LME | EFER_LMA,
    )


def gdt(mode: str) -> bytes:
    """The GDT: null, unused, code, data."""
    return struct.pack("<4Q", 0, 0, descriptor(_code(mode)), descriptor(_DATA))


def descriptor(segment: Segment) -> int:
    """A segment as its 8-byte descriptor (Intel SDM volume 3, figure 3-8)."""
    limit = segment.limit >> 12 if segment.granularity else segment.limit
    return (
        limit & 0xFFFF
        | (segment.base & 0xFFFFFF) << 16
        | segment.type << 40
        | segment.s << 44
        | segment.dpl << 45
        | segment.present << 47
        | (limit >> 16 & 0xF) << 48
        | segment.available << 52
        | segment.long << 53
        | segment.db << 54
        | segment.granularity << 55
        | (segment.base >> 24) << 56
    )


def page_tables(address: int) -> bytes:
    """PML4, PDPT and four page directories for ``address``: they map the first 4 GiB to themselves in 2 MiB pages."""
    table = PTE_PRESENT | PTE_WRITABLE
    pml4 = [address + layout.PAGE | table]
    pdpt = [address + (2 + index) * layout.PAGE | table for index in range(4)]
    directories = [index * LARGE_PAGE | table | PTE_LARGE for index in range(layout.IDENTITY_END // LARGE_PAGE)]
    entries = [*pml4, *[0] * 511, *pdpt, *[0] * 508, *directories]
    return struct.pack(f"<{len(entries)}Q", *entries)
