"""Files with holes: where their data is, and the map of it in an archive.

A file's data is the blocks that are not all zeros, whether its file system keeps the others as holes or not: so the map
depends on the content only.
"""

import os
import re
from collections.abc import Callable
from typing import NamedTuple

from vmspec.bundle.headers import BLOCK, padding
from vmspec.image.digest import CHUNK
from vmspec.lock.hashing import ZEROS, extents

SMALLEST = 1 << 20  # bytes of a file whose holes are worth a map
UNIT = 1 << 16
UNITS_MAX = 1 << 16  # of a file: so its map has at most 1 MiB
MAP_MAX = 2 << 20  # bytes of a map: two numbers of 20 characters for every other unit


class Extent(NamedTuple):
    """A part of a file that has data, in bytes."""

    start: int
    size: int


def data(descriptor: int, size: int, advance: Callable[[int], None]) -> tuple[Extent, ...]:
    """The parts of an open file's first ``size`` bytes that have data. ``advance`` is called with each number of bytes
    that are looked at. Raises OSError."""
    if size < SMALLEST:
        return whole(size)
    unit = UNIT
    while unit * UNITS_MAX < size:
        unit *= 2
    found: list[Extent] = []
    at = 0
    for start, end, is_data in extents(descriptor, size):
        begin = max(at, start - start % unit)
        while is_data and begin < end:
            stop = min(begin + unit, size)
            if not _zeros(descriptor, begin, stop):
                if found and sum(found[-1]) == begin:
                    found[-1] = Extent(found[-1].start, stop - found[-1].start)
                else:
                    found.append(Extent(begin, stop - begin))
            at = begin = stop
        advance(end - start)
    return tuple(found)


def whole(size: int) -> tuple[Extent, ...]:
    """The data of a file without holes."""
    return (Extent(0, size),) if size else ()


def written(found: tuple[Extent, ...], size: int) -> bytes:
    """The map of a file's data, padded: the number of extents, then start and size of each, in decimal lines. A hole at
    the end has an empty extent after it."""
    numbers = list(found)
    if not found or sum(found[-1]) != size:
        numbers.append(Extent(size, 0))
    text = b"%d\n" % len(numbers) + b"".join(b"%d\n%d\n" % extent for extent in numbers)
    return text + bytes(padding(len(text)))


def read(blocks: Callable[[int], bytes], size: int, most: int) -> tuple[bytes, tuple[Extent, ...]]:
    """The map, of at most ``most`` bytes, that begins what ``blocks`` reads, and its extents. Raises ValueError if it
    is not the map of a file of ``size`` bytes."""
    pieces = [blocks(BLOCK)]
    first = re.match(rb"([1-9][0-9]{0,5})\n", pieces[0])
    if first is None:
        raise ValueError("begins with no number of extents")
    lines = 1 + 2 * int(first[1])
    ends = pieces[0].count(b"\n")
    while ends < lines:
        if (len(pieces) + 1) * BLOCK > min(most, MAP_MAX):
            raise ValueError("is longer than it may be")
        pieces.append(blocks(BLOCK))
        ends += pieces[-1].count(b"\n")
    text = b"".join(pieces)
    numbers = [int(line) for line in re.findall(rb"([0-9]{1,19})\n", text)[1:lines]]
    found = tuple(map(Extent, numbers[::2], numbers[1::2]))
    found = tuple(extent for extent in found if extent.size)
    end = 0
    for extent in found:
        if extent.start < end or sum(extent) > size:
            raise ValueError("has extents that overlap, or end beyond the file")
        end = sum(extent)
    if written(found, size) != text:
        raise ValueError("is not written as vmspec bundle writes it")
    return text, found


def _zeros(descriptor: int, start: int, end: int) -> bool:
    while start < end:
        piece = os.pread(descriptor, min(CHUNK, end - start), start)
        if not piece:
            return False  # it has become shorter, which its reader will find
        if piece != ZEROS[: len(piece)]:
            return False
        start += len(piece)
    return True
