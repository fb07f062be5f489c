"""Programs in the PE format, for EFI or Windows (PE/COFF specification, sections 2 to 4)."""

import struct
from typing import NamedTuple

MACHINES = {0x14C: "32-bit x86", 0x8664: "x86-64", 0x1C0: "ARM", 0x1C2: "ARM", 0x1C4: "ARM", 0xAA64: "AArch64"}
MACHINES |= {0x5032: "RISC-V", 0x5064: "RISC-V", 0x6264: "LoongArch"}
SECTION = struct.Struct("<8sIIII16x")  # Name, VirtualSize, VirtualAddress, SizeOfRawData, PointerToRawData


class Section(NamedTuple):
    """A part of the file: ``size`` bytes at ``offset``."""

    offset: int
    size: int


class Program(NamedTuple):
    """A program's processor, by name; its subsystem; its sections by name, the first of each."""

    cpu: str
    subsystem: int
    sections: dict[str, Section]


def recognise(head: bytes) -> bool:
    """Whether a file with these first bytes is a program for EFI, Windows or DOS."""
    return head.startswith(b"MZ") and len(head) >= 0x40


def read(head: bytes) -> Program | None:
    """The program of a recognised file with these first bytes, of which sections may lie beyond them; None: one for
    DOS."""
    at = struct.unpack_from("<I", head, 0x3C)[0]
    if head[at : at + 4] != b"PE\0\0" or at + 0x60 > len(head):
        return None
    machine, count, optional = *struct.unpack_from("<HH", head, at + 4), struct.unpack_from("<H", head, at + 20)[0]
    subsystem = struct.unpack_from("<H", head, at + 24 + 68)[0]
    sections: dict[str, Section] = {}
    first = at + 24 + optional
    for where in range(first, min(first + SECTION.size * count, len(head) - SECTION.size + 1), SECTION.size):
        name, size, _, raw, offset = SECTION.unpack_from(head, where)
        sections.setdefault(name.rstrip(b"\0").decode("latin-1"), Section(offset, min(size, raw)))
    return Program(MACHINES.get(machine, f"machine {machine:#x}"), subsystem, sections)
