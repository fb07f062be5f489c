"""ELF64 kernels (System V gABI, chapter 4 and 5; Linux boots them by the 64-bit boot protocol)."""

import itertools
import struct
from typing import NamedTuple

from vmspec.image.source import ImageError, Source

MAGIC = b"\x7fELF"
CLASS64, LITTLE = 2, 1
EM_X86_64 = 62
MACHINES = {2: "SPARC", 3: "i386", 8: "MIPS", 20: "PowerPC", 21: "PowerPC64", 22: "S/390", 40: "ARM", 183: "AArch64",
            243: "RISC-V", 258: "LoongArch"}  # fmt: skip
PT_LOAD, PT_INTERP = 1, 3
HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
PROGRAM = struct.Struct("<IIQQQQQQ")
SEGMENTS_MAX = 128  # a vmlinux has five or so
ADDRESS_END = 1 << 52  # the largest physical address of the architecture (Intel SDM volume 3, 4.1.4)


class Segment(NamedTuple):
    """A PT_LOAD: ``file_size`` bytes at ``offset`` of the file go to ``address`` (physical), zeros follow up to
    ``size``; ``virtual`` is the program's address for them."""

    address: int
    virtual: int
    offset: int
    file_size: int
    size: int


class Elf(NamedTuple):
    """An ELF kernel: its segments by ascending address, and the physical address of its entry."""

    entry: int
    segments: tuple[Segment, ...]


def recognise(source: Source) -> bool:
    """Whether the file begins as an ELF file."""
    return source.start(len(MAGIC)) == MAGIC


def is_64bit(source: Source) -> bool:
    """Whether a recognised ELF file is a 64-bit one."""
    return source.start(5)[4:] == bytes([CLASS64])


def read(source: Source) -> Elf:
    """The program headers of a recognised ELF file, checked for consistency with themselves and the file."""
    ident = source.read(0, 20, "the ELF header")
    order = "little" if ident[5] == LITTLE else "big"
    machine = int.from_bytes(ident[18:20], order)  # type: ignore[arg-type]
    if ident[4] != CLASS64 or machine != EM_X86_64 or ident[5] != LITTLE:
        bits = {1: "32-bit ", CLASS64: "64-bit "}.get(ident[4], "")
        raise ImageError(
            f"is a {bits}ELF file for {MACHINES.get(machine, f'machine {machine}')}, not for x86-64: "
            "give a 64-bit kernel"
        )
    fields = HEADER.unpack(source.read(0, HEADER.size, "the ELF header"))
    kind, entry, table, entry_size, count = fields[1], fields[4], fields[5], fields[9], fields[10]
    match kind:
        case 2 | 3:  # ET_EXEC, ET_DYN
            pass
        case 1:
            raise ImageError("is an ELF object file (or a kernel module), not a linked kernel")
        case 4:
            raise ImageError("is an ELF core dump, not a kernel")
        case _:
            raise ImageError(f"is an ELF file of unknown type {kind}")
    if entry_size != PROGRAM.size:
        raise ImageError(f"program headers of {entry_size} bytes where ELF64 has {PROGRAM.size}")
    if not 0 < count <= SEGMENTS_MAX:
        raise ImageError(f"{count} program headers: a kernel has 1 to {SEGMENTS_MAX}")
    headers = source.read(table, count * entry_size, "the table of program headers")
    segments = []
    for kind, _, offset, virtual, address, file_size, size, _ in PROGRAM.iter_unpack(headers):
        if kind == PT_INTERP:
            raise ImageError("is a dynamically linked program, not a kernel")
        if kind == PT_LOAD and size:
            segments.append(_checked(Segment(address, virtual, offset, file_size, size), source.size))
    if not segments:
        raise ImageError("has nothing to load: no PT_LOAD segment")
    segments.sort(key=lambda segment: segment.address)
    for low, high in itertools.pairwise(segments):
        if low.address + low.size > high.address:
            raise ImageError(f"segments overlap at {high.address:#x}")
    return Elf(_physical(entry, segments), tuple(segments))


def _checked(segment: Segment, size: int) -> Segment:
    if segment.offset + segment.file_size > size:
        end = segment.offset + segment.file_size
        raise ImageError(f"truncated: the segment for {segment.address:#x} ends at byte {end}, the file has {size}")
    if segment.file_size > segment.size:
        raise ImageError(f"the segment for {segment.address:#x} has more bytes in the file than in memory")
    if segment.address + segment.size > ADDRESS_END:
        raise ImageError(f"the segment for {segment.address:#x} reaches beyond physical memory")
    return segment


def _physical(entry: int, segments: list[Segment]) -> int:
    """The physical address of the entry: Linux's linker script sets it so; other programs have the virtual one."""
    for segment in segments:
        if segment.address <= entry < segment.address + segment.size:
            return entry
    for segment in segments:
        if segment.virtual <= entry < segment.virtual + segment.size:
            return entry - segment.virtual + segment.address
    raise ImageError(f"the entry {entry:#x} is in no loaded segment")
