"""Symbols for a trace's RIPs: which file has them, and the kernel's offset from its link address (KASLR)."""

import hashlib
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from attrs import frozen

from tracer.format.errors import TraceError
from tracer.read.console import Console
from tracer.read.metadata import read_json
from tracer.read.reader import Trace
from vmspec.host.pathtext import from_text
from vmspec.image.source import ImageError, opened
from vmspec.image.symbols import Symbols, read
from vmspec.trace import keys

# Documentation/arch/x86/x86_64/mm.rst: the kernel image's range, then its modules'.
KERNEL, MODULES = 0xFFFF_FFFF_8000_0000, 0xFFFF_FFFF_C000_0000
USER_END = 1 << 47
ALIGNMENT = 2 << 20  # CONFIG_PHYSICAL_ALIGN: offsets are multiples
OFFSETS = range(0, 1 << 30, ALIGNMENT)  # RANDOMIZE_BASE moves the image within 1 GiB
# What a panic prints (arch/x86/kernel/setup.c, dump_kernel_offset).
OFFSET_LINE = re.compile(rb"Kernel Offset: (?:(0x[0-9a-f]{1,16}) from|(disabled))")
# IN and OUT by dx, also of strings; and by an immediate byte, which follows (Intel SDM volume 2).
BY_DX, BY_BYTE = b"\xec\xed\xee\xef\x6c\x6d\x6e\x6f", b"\xe4\xe5\xe6\xe7"
WHAT = {"symbols": "symbol file", "kernel": "kernel"}
PREFIXES = b"\x66\xf2\xf3"  # operand size, rep
ENOUGH = 4  # different port instructions that confirm an offset


@frozen
class Namer:
    """Names for RIPs: ``symbols`` None without symbols; ``offset`` is the kernel's; ``source`` says where both come
    from."""

    symbols: Symbols | None
    offset: int
    source: str

    def name(self, rip: int | None) -> tuple[str, str]:
        """The symbol that contains a RIP, and the symbol with the distance from it."""
        if rip is None:
            return "[others]", "[others]"
        if rip == 0:
            return "[not known]", "[not known]"
        if self.symbols is None:
            return f"{rip:#x}", f"{rip:#x}"
        virtual = rip - self.offset if rip >= KERNEL else rip
        # Before the kernel has its own page tables, it runs where it was loaded.
        for address in (virtual, self.symbols.virtual(rip), rip + KERNEL if not self.symbols.segments else None):
            if address is not None and (found := self.symbols.at(address)) is not None:
                return found[0], f"{found[0]}+{found[1]:#x}"
        name = "[module]" if rip >= MODULES else "[kernel]" if rip >= KERNEL else "[user]" if rip < USER_END else "[?]"
        return name, f"{name} {rip:#x}"


def namer(trace: Trace, rips: Sequence[int], given: Path | None = None, offset: int | None = None) -> Namer:
    """The names for a trace: from a given file, or else from the files in the trace's own spec.

    ``rips`` are those of port exits, from which an offset is detected if none is given. Raises TraceError if a given
    file has no symbols.
    """
    if given is not None:
        try:
            symbols: Symbols | None = read(given)
        except ImageError as error:
            raise TraceError(f"{given} {error}") from error
        source = str(given)
    else:
        symbols, source = _own(trace)
    if symbols is None:
        return Namer(None, 0, source)
    if offset is not None:
        return Namer(symbols, offset, f"{source}, moved by {offset:#x} as given")
    found = _offset(trace, symbols, [rip for rip in rips if KERNEL <= rip < MODULES])
    if found is None:
        return Namer(
            symbols, 0, f"{source}, which does not fit the RIPs: another kernel, or KASLR (give --kaslr OFFSET)"
        )
    return Namer(symbols, found, source if not found else f"{source}, moved by {found:#x} (KASLR)")


def _own(trace: Trace) -> tuple[Symbols | None, str]:
    """The symbols of the files that the trace's spec names, if they exist and the kernel is the run's."""
    problems = []
    for key, path in symbol_files(trace).items():
        try:
            if not _same(trace, key, path):
                problems.append(f"{path} is not the {WHAT[key]} of the run")
                continue
            return read(path), str(path)
        except ImageError as error:
            problems.append(f"{path} {error}")
    return None, "; ".join(problems) or "none; use --symbols FILE"


def symbol_files(trace: Trace) -> dict[str, Path]:
    """The files with symbols that the trace's spec names, by their keys, best first."""
    boot = trace.spec.get("boot")
    boot = boot if isinstance(boot, dict) else {}
    found = {}
    for key in ("symbols", "kernel"):
        if isinstance(path := boot.get(key), str):
            with suppress(ValueError):  # not a path
                found[key] = from_text(path)
    return found


def _same(trace: Trace, key: str, path: Path) -> bool:
    """Whether a file has the hash in the trace's metadata. Early traces have no hash of a symbol file."""
    try:
        images = read_json(trace.metadata.get(keys.IMAGES, "{}"))
        if key == "symbols" and key not in images:
            return True
        digest = images[key]["sha256"]
    except (ValueError, KeyError, TypeError):
        digest = ""
    if not digest:
        raise ImageError(f"cannot be compared with the {WHAT[key]} of the run: the trace has no hash of that")
    with opened(path) as source:
        hashed = hashlib.sha256()
        while piece := source.file.read(1 << 20):
            hashed.update(piece)
    return bool(hashed.hexdigest() == digest)


def _offset(trace: Trace, symbols: Symbols, rips: list[int]) -> int | None:
    """The kernel's offset; None if the symbols fit no offset."""
    if not rips:
        return 0
    if symbols.image is not None and (found := _by_code(symbols, sorted(set(rips)))) is not None:
        return found
    for piece in OFFSET_LINE.finditer(Console(trace, trace.devices).text):
        return int(piece[1], 16) if piece[1] else 0
    inside = sum(symbols.at(rip) is not None for rip in rips)
    return 0 if symbols.image is None and inside == len(rips) else None


def _by_code(symbols: Symbols, rips: list[int]) -> int | None:
    """The only offset at which the kernel's code has a port instruction at, or just before, each RIP of a port exit."""
    codes: list[tuple[int, bytes]] = [
        (segment.virtual, _code(symbols, segment)) for segment in symbols.segments if segment.virtual >= KERNEL
    ]

    def fits(rip: int) -> bool:
        code: bytes
        for start, code in codes:
            at = rip - start
            if 2 <= at < len(code):
                opcode = code[at : at + 3].lstrip(PREFIXES)[:1]
                # The byte before: a host may report the RIP after the instruction.
                after = code[at - 1 : at] in BY_DX or code[at - 2 : at - 1] in BY_BYTE
                return after or (opcode != b"" and opcode in BY_DX + BY_BYTE)
        return False

    fitting = [offset for offset in OFFSETS if all(fits(rip - offset) for rip in rips)]
    if 0 in fitting:
        return 0
    return fitting[0] if len(fitting) == 1 and len(rips) >= ENOUGH else None


def _code(symbols: Symbols, segment: Any) -> bytes:
    try:
        with opened(symbols.image) as source:  # type: ignore[arg-type] # checked by the caller
            source.file.seek(segment.offset)
            return source.file.read(min(segment.file_size, 1 << 28))
    except (ImageError, OSError):
        return b""
