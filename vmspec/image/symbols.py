"""Names for guest addresses: from a System.map, an ELF symbol table, or a Linux kernel's own tables."""

import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from pathlib import Path

from vmspec.image import bzimage, elf, kallsyms, wrapped
from vmspec.image.elf import Elf, Segment
from vmspec.image.source import READ_MAX, ImageError, Source, opened
from vmspec.image.unpack import CannotUnpackError, unpacked

SYMBOL = struct.Struct("<IBBHQQ")  # st_name, st_info, st_other, st_shndx, st_value, st_size (ELF-64, chapter 4)
SECTION = struct.Struct("<IIQQQQIIQQ")  # sh_name, sh_type, sh_flags, sh_addr, sh_offset, sh_size, sh_link, ...
SHT_SYMTAB = 2
SECTIONS_MAX = 1 << 16
LIMIT = 256 << 20  # bytes of a text file, a table or a segment: ten times real ones


class Symbols:
    """The symbols of one program by ascending address. Those of an ELF file have its ``segments`` too, and ``image`` is
    that file; those of a System.map have none."""

    def __init__(
        self, symbols: Iterable[tuple[int, str]], segments: tuple[Segment, ...] = (), image: Path | None = None
    ) -> None:
        ordered = sorted(symbols)
        self.addresses = [address for address, _ in ordered]
        self.names = [name for _, name in ordered]
        self.segments = segments
        self.image = image

    def at(self, address: int) -> tuple[str, int] | None:
        """The symbol at or before an address, and the distance from it. None before the first symbol, and from the last
        one on, whose length is unknown."""
        at = bisect_right(self.addresses, address) - 1
        if not 0 <= at < len(self.addresses) - 1:
            return None
        return self.names[at], address - self.addresses[at]

    def virtual(self, physical: int) -> int | None:
        """The program's virtual address for a physical one; None if nothing is loaded there."""
        for segment in self.segments:
            if segment.address <= physical < segment.address + segment.size:
                return physical - segment.address + segment.virtual
        return None


def read(path: Path) -> Symbols:
    """The symbols of a System.map, an ELF file or a bzImage, recognised by content, or of a kernel in another file.

    An ELF file's symbol table takes precedence over the kernel's own tables in it (:mod:`kallsyms`); a bzImage has
    those of its unpacked kernel. Raises :class:`ImageError` if there are none.
    """
    with opened(path) as source:
        kernel = elf.recognise(source) or bzimage.recognise(source)
        if not kernel and (inside := wrapped.find(source)) is not None:
            path = inside.kernel
    with opened(path) as source:
        if elf.recognise(source):
            return _of_elf(source, path)
        if not bzimage.recognise(source):
            return Symbols(_found(system_map(whole(source, 0, source.size, "the symbol file"))))
        try:
            inner = unpacked(source, bzimage.read(source))
        except CannotUnpackError as error:
            raise ImageError(f"cannot be unpacked: {error}") from error
    with opened(inner) as source:
        if not elf.recognise(source):
            raise ImageError("contains a kernel that is not an ELF file")
        return _of_elf(source, inner)


def system_map(data: bytes) -> Iterator[tuple[int, str]]:
    """Parse lines of ``address type name``, as nm prints them. Raises :class:`ImageError` at any other line."""
    for number, line in enumerate(data.splitlines(), 1):
        match line.split():
            case [address, kind, name] | [address, kind, name, _] if len(kind) == 1:  # a fourth word is the module
                try:
                    yield int(address, 16), name.decode("ascii", "replace")
                except ValueError:
                    raise ImageError(f"is not a symbol file: line {number} does not begin with an address") from None
            case [kind, _] if len(kind) == 1:  # undefined: nm leaves the address out
                continue
            case []:
                continue
            case _:
                raise ImageError(f"is not a symbol file: line {number} is not ADDRESS TYPE NAME")


def _of_elf(source: Source, path: Path) -> Symbols:
    try:
        program: Elf | None = elf.read(source)
    except ImageError:
        program = None  # a file that cannot be booted may have symbols
    segments = program.segments if program is not None else ()
    symbols = list(symbol_table(source))
    for segment in () if symbols else segments:
        symbols = kallsyms.find(whole(source, segment.offset, segment.file_size, "a segment"))
        if symbols:
            break
    return Symbols(_found(symbols), segments, path)


def sections(source: Source) -> list[tuple[int, ...]]:
    """The section headers of a 64-bit little-endian ELF, as :data:`SECTION` has them; empty if it has none."""
    head = source.read(0, 64, "the ELF header")
    table, size, count = struct.unpack_from("<Q", head, 40)[0], *struct.unpack_from("<HH", head, 58)
    if not table or not count or size != SECTION.size or count > SECTIONS_MAX:
        return []
    return list(SECTION.iter_unpack(whole(source, table, count * size, "the table of section headers")))


def symbol_table(source: Source) -> Iterator[tuple[int, str]]:
    """The symbol table of a 64-bit little-endian ELF; empty if it is stripped."""
    found = sections(source)
    for _, kind, _, _, offset, length, link, *_ in found:
        if kind != SHT_SYMTAB or link >= len(found):
            continue
        entries = whole(source, offset, length // SYMBOL.size * SYMBOL.size, "the symbol table")
        strings = whole(source, found[link][4], found[link][5], "the symbols' names")
        for name, _, _, section, value, _ in SYMBOL.iter_unpack(entries):
            end = strings.find(b"\0", name)
            if section and name and end > name:
                yield value, strings[name:end].decode("ascii", "replace")


def _found(symbols: Iterable[tuple[int, str]]) -> list[tuple[int, str]]:
    found = list(symbols)
    if not found:
        raise ImageError("has no symbols")
    return found


def whole(source: Source, offset: int, size: int, what: str) -> bytes:
    """A part of a file, which may be longer than a header."""
    if size > LIMIT:
        raise ImageError(f"{what} of {size} bytes is larger than any real one")
    if offset + size > source.size:
        raise ImageError(f"truncated: {what} ends at byte {offset + size}, the file has {source.size}")
    return b"".join(
        source.read(at, min(READ_MAX, offset + size - at), what) for at in range(offset, offset + size, READ_MAX)
    )
