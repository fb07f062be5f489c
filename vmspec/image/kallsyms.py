"""The symbols in a Linux kernel's own tables (CONFIG_KALLSYMS), found in its read-only data.

``scripts/kallsyms.c`` writes these tables, each aligned to 8 bytes: ``num_syms`` (u32), ``names`` (for each symbol a
ULEB128 length and that many codes), ``markers`` (u32: where every 256th name begins), ``token_table`` (256 strings, one
per code), ``token_index`` (u16: where each begins), ``offsets`` (s32 for each symbol) and ``relative_base`` (u64). Up
to Linux 6.4 the order is offsets, relative_base, num_syms, names, markers, token_table, token_index; since 6.2, and in
later 6.1 releases, ``seqs_of_names`` (the names' order, 3 bytes each) follows the markers. Since 6.5 the order is
num_syms, names, markers, token_table, token_index, offsets, relative_base, seqs_of_names. In a stripped kernel nothing
names the tables. They are recognised by their relations to each other; tables that do not fit are rejected.
"""

import struct
from array import array
from collections.abc import Iterator, Sequence
from itertools import pairwise

# Digits occur in names, so they have their own tokens: ten entries of the token table that are the same in every
# kernel.
DIGITS = b"".join(b"%d\0" % digit for digit in range(10))
TOKENS = 256
STEP = 256  # names between markers
NAME_MAX = 2 + 512  # bytes of one coded name (KSYM_NAME_LEN)
SYMBOLS_MAX = 1 << 22  # a distribution's kernel has 200,000
TOKEN_MAX = 512
SEQUENCES = (0, 3, 4)  # bytes of one entry of seqs_of_names, where that table lies before the token table
KERNEL = 0xFFFF_FFFF_8000_0000  # __START_KERNEL_map (Documentation/arch/x86/x86_64/mm.rst)


def find(data: bytes) -> list[tuple[int, str]]:
    """The symbols in a kernel's loaded bytes as (address, name), by ascending address; empty without tables.

    Per-CPU offsets, which are not addresses of code, are left out. Addresses are link addresses.
    """
    at = -1
    while (at := data.find(DIGITS, at + 1)) >= 0:
        for symbols in _symbols(data, at):
            return symbols
    return []


def _symbols(data: bytes, digits: int) -> Iterator[list[tuple[int, str]]]:
    """The symbols from the tables around a possible token table; empty if they are not such tables."""
    found = _tokens(data, digits)
    if found is None:
        return
    table, tokens, after = found
    for number, names in _names(data, table):
        for offsets, base in _placed(data, number, names.start - 8, after):
            addresses = _addresses(data, number, offsets, base)
            if addresses is not None:
                texts = _texts(data, names, number, tokens)
                yield [
                    (address, text[1:])  # the first character is the type, as nm prints it
                    for address, text in zip(addresses, texts, strict=True)
                    if address >= KERNEL
                ]


def _tokens(data: bytes, digits: int) -> tuple[int, list[str], int] | None:
    """Where the token table begins, its strings, and where the index after it ends."""
    end = digits
    lengths = []
    for _ in range(ord("0"), TOKENS):
        stop = data.find(b"\0", end, end + TOKEN_MAX)
        if stop < 0:
            return None
        lengths.append(stop + 1 - end)
        end = stop + 1
    index = _aligned(end)
    if index + 2 * TOKENS > len(data):
        return None
    starts = struct.unpack_from(f"<{TOKENS}H", data, index)
    table = digits - starts[ord("0")]
    if starts[0] or table < 0 or [b - a for a, b in pairwise([*starts[ord("0") :], end - table])] != lengths:
        return None
    tokens = []
    for start, stop in pairwise([*starts, end - table]):
        token = data[table + start : table + stop]
        if stop <= start or token.find(b"\0") != len(token) - 1:
            return None
        tokens.append(token[:-1].decode("ascii", "replace"))
    return table, tokens, index + 2 * TOKENS


def _names(data: bytes, table: int) -> Iterator[tuple[int, range]]:
    """The number of names and the bytes that they may take, from the markers somewhere before a token table."""
    for at, markers in _markers(data, table):
        # The last names follow the last marker, so the names begin about that far before the markers.
        latest = at - markers[-1] - 2
        for start in range(latest & ~7, max(latest - STEP * NAME_MAX, 8), -8):
            number, padding = struct.unpack_from("<II", data, start - 8)
            if not padding and -(-number // STEP) == len(markers) and _walk(data, start, at, number, markers):
                yield number, range(start, at)


def _markers(data: bytes, table: int) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Where there may be markers, and the markers."""
    for sequence in SEQUENCES:
        for end in range(table, max(table - sequence * SYMBOLS_MAX, 0) - 1, -8):
            # The sequences from here to the token table are of that many names; without any, the markers begin with 0.
            numbers = {size // sequence for size in range(table - end - 7, table - end + 1)} if sequence else {0}
            for count in {-(-number // STEP) for number in numbers if number >= 0}:
                found = _checked(data, end, count) if count else _counted(data, end)
                if found is not None:
                    yield found


def _checked(data: bytes, end: int, count: int) -> tuple[int, tuple[int, ...]] | None:
    """That many markers that end at an address, if they are valid."""
    at = end - _aligned(4 * count)
    if at < 0 or data[at : at + 4] != bytes(4):
        return None
    if count > 1 and not 0 < _u32(data, at + 4) <= STEP * NAME_MAX:
        return None
    markers = struct.unpack_from(f"<{count}I", data, at)
    rising = all(0 < high - low <= STEP * NAME_MAX for low, high in pairwise(markers))
    return (at, markers) if rising else None


def _counted(data: bytes, end: int) -> tuple[int, tuple[int, ...]] | None:
    """The markers before an address: as many as descend to 0."""
    for pad in (0, 4):
        count = 1
        at = end - pad - 4
        while at >= 4 and 0 < _u32(data, at) - _u32(data, at - 4) <= STEP * NAME_MAX and count <= SYMBOLS_MAX // STEP:
            at, count = at - 4, count + 1
        if at >= 0 and at % 8 == 0 and not _u32(data, at) and count > 1:
            return at, struct.unpack_from(f"<{count}I", data, at)
    return None


def _walk(data: bytes, start: int, stop: int, number: int, markers: Sequence[int]) -> bool:
    """Whether that many names begin where the markers say, and end where the markers begin."""
    at = start
    for index in range(number):
        if index % STEP == 0 and at - start != markers[index // STEP]:
            return False
        length, at = _length(data, at)
        at += length
        if not length or at > stop:
            return False
    return _aligned(at) == stop


def _length(data: bytes, at: int) -> tuple[int, int]:
    """A ULEB128 number of at most two bytes, and where it ends."""
    first = data[at]
    return (first, at + 1) if first < 0x80 else (first & 0x7F | data[at + 1] << 7, at + 2)


def _placed(data: bytes, number: int, num_syms: int, after: int) -> Iterator[tuple[int, int]]:
    """Where the offsets may begin, and their base: before the number of symbols, or at the end."""
    old, new = num_syms - 8, _aligned(_aligned(after) + 4 * number)
    for offsets, base in ((old - _aligned(4 * number), old), (_aligned(after), new)):
        if offsets >= 0 and base + 8 <= len(data):
            value = int.from_bytes(data[base : base + 8], "little")
            if value >= KERNEL:
                yield offsets, value


def _addresses(data: bytes, number: int, offsets: int, base: int) -> list[int] | None:
    """Addresses from offsets; None if they do not ascend, as real ones do."""
    values = array("i", data[offsets : offsets + 4 * number])
    # With CONFIG_KALLSYMS_ABSOLUTE_PERCPU, until Linux 6.15, the kernel's own offsets are negative and count down from
    # base - 1; the others are absolute.
    if any(value < 0 for value in values):
        addresses = [value if value >= 0 else base - 1 - value for value in values]
    else:
        addresses = [base + value for value in values]
    rising = all(low <= high for low, high in pairwise(addresses))
    return addresses if rising and addresses[-1] < 1 << 64 else None


def _texts(data: bytes, names: range, number: int, tokens: list[str]) -> Iterator[str]:
    at = names.start
    for _ in range(number):
        length, at = _length(data, at)
        yield "".join([tokens[code] for code in data[at : at + length]])
        at += length


def _aligned(at: int) -> int:
    return at + 7 & ~7


def _u32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little") if at >= 0 else 0
