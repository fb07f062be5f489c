"""Names for guest addresses, from a System.map or an ELF symbol table, for the crash report."""

import struct
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path

from vmspec.models import Boot

SYMBOL = struct.Struct("<IBBHQQ")  # st_name, st_info, st_other, st_shndx, st_value, st_size (ELF-64, chapter 4)
SECTION = struct.Struct("<IIQQQQIIQQ")  # sh_name, sh_type, sh_flags, sh_addr, sh_offset, sh_size, sh_link, ...
SHT_SYMTAB = 2
LIMIT = 1 << 30  # larger files are no symbol files


def symbol_at(boot: Boot, address: int) -> str | None:
    """``name+0x12`` of the symbol at or before an address, from ``boot.symbols`` or the kernel's own symbols."""
    for path in (boot.symbols, boot.kernel):
        if path is None:
            continue
        try:
            symbols = sorted(read(path))
        except (OSError, ValueError, struct.error):
            continue  # a crash report without a name is still a report
        at = bisect_right(symbols, (address, "\U0010ffff")) - 1
        if 0 <= at < len(symbols) - 1:
            return f"{symbols[at][1]}+{address - symbols[at][0]:#x}"
    return None


def read(path: Path) -> Iterator[tuple[int, str]]:
    """The symbols of a file as (address, name)."""
    if path.stat().st_size > LIMIT:
        raise ValueError(f"{path} is too large for a symbol file")
    data = path.read_bytes()
    if data[:4] == b"\x7fELF":
        yield from elf(data)
    elif data[:1].isalnum():
        yield from system_map(data)


def system_map(data: bytes) -> Iterator[tuple[int, str]]:
    """Lines of ``address type name``, as nm prints them."""
    for line in data.splitlines():
        match line.split():
            case [address, kind, name] if len(kind) == 1:
                yield int(address, 16), name.decode("ascii", "replace")


def elf(data: bytes) -> Iterator[tuple[int, str]]:
    """The symbol table of a 64-bit little-endian ELF."""
    table, size, count = struct.unpack_from("<Q", data, 40)[0], *struct.unpack_from("<HH", data, 58)
    sections = [SECTION.unpack_from(data, table + number * size) for number in range(count)]
    for _, kind, _, _, offset, length, link, *_ in sections:
        if kind != SHT_SYMTAB or link >= count:
            continue
        strings = sections[link][4]
        for name, _, _, section, value, _ in SYMBOL.iter_unpack(data[offset : offset + length // 24 * 24]):
            if section and name:
                end = data.index(b"\0", strings + name)
                yield value, data[strings + name : end].decode("ascii", "replace")
