"""Where a Linux kernel's RDTSC instructions are: in the executable sections of its ELF file."""

from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from vmspec.image import symbols
from vmspec.image.elf import Elf
from vmspec.image.source import ImageError, Source, opened
from vmspec.registers.tsc import RDTSC

EXECUTABLE = 1 << 2  # SHF_EXECINSTR of sh_flags
SHT_NOBITS = 8
LONGEST = 15  # bytes of an instruction (Intel SDM volume 2, 2.3.11)


class _Code(NamedTuple):
    """The bytes of an executable section, the address that the program has for them, and their place in the file."""

    data: bytes
    virtual: int
    offset: int


def sites(path: Path, image: Elf) -> tuple[int, ...]:
    """The physical addresses of all RDTSC instructions of the kernel in a file, in order.

    The same two bytes are part of other instructions. So the code before them is disassembled, from the symbol before
    them or the start of their section: an instruction must begin there. Raises ImageError.
    """
    try:
        import capstone
    except ImportError as error:
        message = "its RDTSC instructions are found with capstone, which is missing: pip install 'vmrun[disasm]'"
        raise ImageError(message) from error

    engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    engine.skipdata = True
    named = symbols.read(path).addresses
    with opened(path) as source:
        parts = list(_executable(source))
    found = []
    for code in parts:
        at = -1
        while (at := code.data.find(RDTSC, at + 1)) >= 0:
            start = _start(code, at, named)
            # With what follows: the two bytes may be the middle of a longer instruction.
            steps = engine.disasm_lite(code.data[start : at + LONGEST], start)
            if any(begin == at and name == "rdtsc" for begin, _, name, _ in steps):
                found.append(_physical(image, code.offset + at))
    return tuple(sorted(found))


def _executable(source: Source) -> Iterator[_Code]:
    found = symbols.sections(source)
    if not found:
        raise ImageError("has no section headers, which say where its code is: its RDTSC instructions cannot be found")
    for _, kind, flags, virtual, offset, length, *_ in found:
        if flags & EXECUTABLE and kind != SHT_NOBITS:
            yield _Code(symbols.whole(source, offset, length, "a section of code"), virtual, offset)


def _start(code: _Code, at: int, named: list[int]) -> int:
    """Where an instruction begins at or before a place in the code."""
    before = bisect_right(named, code.virtual + at) - 1
    return max(named[before] - code.virtual, 0) if before >= 0 else 0


def _physical(image: Elf, offset: int) -> int:
    for segment in image.segments:
        if segment.offset <= offset and offset + len(RDTSC) <= segment.offset + segment.file_size:
            return segment.address + offset - segment.offset
    raise ImageError(f"has code at byte {offset:#x} that is in no loaded segment")
