"""ELF core files of x86-64: a header, a note for each vCPU, and segments (ELF-64 object file format). The notes are
those of Linux's core files (include/linux/elfcore.h)."""

import struct
from collections.abc import Sequence
from typing import NamedTuple

from runner.kvm.vcpu import Registers

HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
PROGRAM = struct.Struct("<IIQQQQQQ")  # p_type, p_flags, p_offset, p_vaddr, p_paddr, p_filesz, p_memsz, p_align
SECTION = struct.Struct("<IIQQQQIIQQ")
NOTE = struct.Struct("<III")  # the sizes of name and contents, the type
STATUS = struct.Struct("<iii hxx QQ iiii 64x 27Q i4x")  # struct elf_prstatus
IDENT = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)  # 64 bits, little endian, version 1
ET_CORE, EM_X86_64 = 4, 62
PT_LOAD, PT_NOTE = 1, 4
NT_PRSTATUS = 1
VMCOREINFO = b"VMCOREINFO\0"  # the name of a note that Linux makes, of type 0 (admin-guide/kdump/vmcoreinfo.rst)
READ_WRITE_EXECUTE = 7
PAGE = 4096
EXTENDED = 0xFFFF  # PN_XNUM: the number of segments is in the first section header

# Of struct user_regs_struct (asm/user_64.h), in its order.
GENERAL = (
    "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi",
)  # fmt: skip


class Segment(NamedTuple):
    """Memory in the file: linear and guest-physical address, size, and where its contents are, from the beginning of
    the memory in the file."""

    linear: int
    physical: int
    size: int
    at: int


def head(vcpus: Sequence[Registers], segments: Sequence[Segment], vmcoreinfo: bytes | None = None) -> bytes:
    """The file up to the memory: a whole number of pages. ``vmcoreinfo`` is Linux's own text."""
    notes = b"".join(_status(index, registers) for index, registers in enumerate(vcpus))
    if vmcoreinfo is not None:
        notes += note(VMCOREINFO, 0, vmcoreinfo)
    many = len(segments) + 1 >= EXTENDED
    programs = HEADER.size
    sections = programs + PROGRAM.size * (len(segments) + 1)
    at_notes = sections + SECTION.size * many
    start = -(-(at_notes + len(notes)) // PAGE) * PAGE
    count = len(segments) + 1
    found = HEADER.pack(
        IDENT, ET_CORE, EM_X86_64, 1, 0, programs, sections if many else 0, 0, HEADER.size, PROGRAM.size,
        EXTENDED if many else count, SECTION.size if many else 0, int(many), 0,
    )  # fmt: skip
    found += PROGRAM.pack(PT_NOTE, 0, at_notes, 0, 0, len(notes), len(notes), 4)
    found += b"".join(
        PROGRAM.pack(PT_LOAD, READ_WRITE_EXECUTE, start + s.at, s.linear, s.physical, s.size, s.size, 0)
        for s in segments
    )
    if many:
        found += SECTION.pack(0, 0, 0, 0, 0, 0, 0, count, 0, 0)
    return (found + notes).ljust(start, b"\0")


def note(name: bytes, kind: int, contents: bytes) -> bytes:
    """A note; ``name`` ends with a NUL."""
    padded = (part.ljust(-(-len(part) // 4) * 4, b"\0") for part in (name, contents))
    return NOTE.pack(len(name), len(contents), kind) + b"".join(padded)


def _status(index: int, registers: Registers) -> bytes:
    """The registers of a vCPU, as those of the thread with its number plus one."""
    general, segments = registers.general, registers.state.segments
    selectors = [segments[name].selector for name in ("ds", "es", "fs", "gs")]
    values = [
        *(general[name] for name in GENERAL),
        (1 << 64) - 1,  # orig_rax: in no system call
        general["rip"], segments["cs"].selector, general["rflags"], general["rsp"], segments["ss"].selector,
        segments["fs"].base, segments["gs"].base, *selectors,
    ]  # fmt: skip
    status = STATUS.pack(0, 0, 0, 0, 0, 0, index + 1, 0, 0, 0, *values, 0)
    return note(b"CORE\0", NT_PRSTATUS, status)
