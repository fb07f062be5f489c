"""ELF kernels (System V gABI, chapter 4 and 5), and the notes in them that say how they are started."""

import itertools
import struct
from typing import NamedTuple

from vmspec.image.source import READ_MAX, ImageError, Source

MAGIC = b"\x7fELF"
CLASS32, CLASS64, LITTLE = 1, 2, 1
EM_386, EM_X86_64 = 3, 62
MACHINES = {2: "SPARC", EM_386: "i386", 8: "MIPS", 20: "PowerPC", 21: "PowerPC64", 22: "S/390", 40: "ARM",
            183: "AArch64", 243: "RISC-V", 258: "LoongArch"}  # fmt: skip
PT_LOAD, PT_INTERP, PT_NOTE = 1, 3, 4
# By class: the file header; a program header, and where its type, offset, virtual and physical address, size in the
# file and in memory are.
HEADERS = {CLASS32: struct.Struct("<16sHHIIIIIHHHHHH"), CLASS64: struct.Struct("<16sHHIQQQIHHHHHH")}
PROGRAMS = {CLASS32: struct.Struct("<IIIIIIII"), CLASS64: struct.Struct("<IIQQQQQQ")}
FIELDS = {CLASS32: (0, 1, 2, 3, 4, 5), CLASS64: (0, 2, 3, 4, 5, 6)}
NOTE = struct.Struct("<III")  # sizes of name and description, type
# Notes of the name "Xen" (Xen's public/elfnote.h).
XEN, XEN_GUEST_OS, XEN_PHYS32_ENTRY = b"Xen\0", 6, 18
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
    """An ELF kernel: its segments by ascending address, and the physical address of its entry. ``pvh`` is that of its
    32-bit entry by the PVH protocol (Xen's docs/misc/pvh.pandoc); ``guest_os`` is the system's name in Xen's notes."""

    entry: int
    segments: tuple[Segment, ...]
    bits: int = 64
    pvh: int | None = None
    guest_os: str | None = None


def recognise(source: Source) -> bool:
    """Whether the file begins as an ELF file."""
    return source.start(len(MAGIC)) == MAGIC


def read(source: Source) -> Elf:
    """The program headers of a recognised ELF file for x86, checked for consistency with themselves and the file."""
    ident = source.read(0, 20, "the ELF header")
    order = "little" if ident[5] == LITTLE else "big"
    machine = int.from_bytes(ident[18:20], order)  # type: ignore[arg-type]
    classes = {(CLASS32, EM_386): 32, (CLASS32, EM_X86_64): 32, (CLASS64, EM_X86_64): 64}
    bits = classes.get((ident[4], machine)) if ident[5] == LITTLE else None
    if bits is None:
        width = {CLASS32: "32-bit ", CLASS64: "64-bit "}.get(ident[4], "")
        name = MACHINES.get(machine, f"machine {machine}")
        raise ImageError(f"is a {width}ELF file for {name}, not for x86-64: give a 64-bit kernel")
    form = ident[4]
    header, program = HEADERS[form], PROGRAMS[form]
    fields = header.unpack(source.read(0, header.size, "the ELF header"))
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
    if entry_size != program.size:
        raise ImageError(f"program headers of {entry_size} bytes where ELF{bits} has {program.size}")
    if not 0 < count <= SEGMENTS_MAX:
        raise ImageError(f"{count} program headers: a kernel has 1 to {SEGMENTS_MAX}")
    headers = source.read(table, count * entry_size, "the table of program headers")
    segments = []
    notes: dict[int, bytes] = {}
    for row in program.iter_unpack(headers):
        kind, offset, virtual, address, file_size, size = (row[at] for at in FIELDS[form])
        if kind == PT_INTERP:
            raise ImageError("is a dynamically linked program, not a kernel")
        if kind == PT_NOTE and file_size <= READ_MAX and offset + file_size <= source.size:
            notes |= _xen(source.read(offset, file_size, "a segment of notes"))
        if kind == PT_LOAD and size:
            segments.append(_checked(Segment(address, virtual, offset, file_size, size), source.size))
    if not segments:
        raise ImageError("has nothing to load: no PT_LOAD segment")
    segments.sort(key=lambda segment: segment.address)
    for low, high in itertools.pairwise(segments):
        if low.address + low.size > high.address:
            raise ImageError(f"segments overlap at {high.address:#x}")
    pvh = notes.get(XEN_PHYS32_ENTRY)
    guest_os = notes.get(XEN_GUEST_OS)
    return Elf(
        _physical(entry, segments),
        tuple(segments),
        bits,
        int.from_bytes(pvh, "little") if pvh else None,
        guest_os.rstrip(b"\0").decode("ascii", "replace") if guest_os else None,
    )


def _xen(data: bytes) -> dict[int, bytes]:
    """Xen's notes in a segment, by type. One that is cut off is none."""
    found, at = {}, 0
    while at + NOTE.size <= len(data):
        name_size, size, kind = NOTE.unpack_from(data, at)
        begin = at + NOTE.size + -(-name_size // 4) * 4
        at = begin + -(-size // 4) * 4
        if at <= len(data) and data[begin - -(-name_size // 4) * 4 :][:name_size] == XEN:
            found[kind] = data[begin : begin + size]
    return found


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
