"""The guest's page tables: which linear addresses lead to which physical ones (Intel SDM volume 3, 4.3 to 4.5)."""

from array import array
from collections.abc import Callable, Iterator
from typing import NamedTuple

from runner.x86.state import State
from vmspec.registers import system as R

PRESENT, LARGE = 1 << 0, 1 << 7
ADDRESS = (1 << 52) - (1 << 12)
# What is read of them at most: a guest may point its tables at each other, and map the same memory without end.
TABLES, RANGES = 1 << 14, 1 << 15
CR4_PSE, CR4_LA57 = 1 << 4, 1 << 12

Read = Callable[[int, int], bytes]  # guest memory: address, size; ValueError where there is none


class Mapping(NamedTuple):
    """A range of linear addresses, and where it is in guest-physical memory."""

    linear: int
    physical: int
    size: int


def mappings(state: State, read: Read) -> list[Mapping]:
    """The mapped ranges of a vCPU by ascending address, neighbours joined; none if paging is off. No more than
    :data:`RANGES`, from at most :data:`TABLES` tables."""
    if not state.cr0 & R.CR0_PG:
        return []
    joined: list[Mapping] = []
    for found in _walk(state, _Tables(read)):
        last = joined[-1] if joined else None
        if last and (last.linear + last.size, last.physical + last.size) == found[:2]:
            joined[-1] = last._replace(size=last.size + found.size)
        elif len(joined) == RANGES:
            break
        else:
            joined.append(found)
    return joined


def page(state: State, read: Read, linear: int) -> Mapping | None:
    """The page that has a linear address; None if it is not mapped. Without paging, linear addresses are physical."""
    tables = _Tables(read)
    if not state.cr0 & R.CR0_PG:
        return Mapping(0, 0, 1 << 32) if linear < 1 << 32 else None
    if state.efer & R.EFER_LMA:
        levels = 5 if state.cr4 & CR4_LA57 else 4
        top = 1 << (12 + 9 * levels - 1)
        if not 0 <= (linear + top & (1 << 64) - 1) < 2 * top:
            return None
        return tables.page(state.cr3 & ADDRESS, levels, linear, wide=True)
    if linear >= 1 << 32:
        return None
    if state.cr4 & R.CR4_PAE:
        entry = tables.entry(state.cr3 & 0xFFFFFFE0, linear >> 30, wide=True)
        return tables.page(entry & ADDRESS, 2, linear, wide=True) if entry & PRESENT else None
    return tables.page(state.cr3 & 0xFFFFF000, 2, linear, wide=False, large=bool(state.cr4 & CR4_PSE))


def _walk(state: State, tables: "_Tables") -> Iterator[Mapping]:
    if state.efer & R.EFER_LMA:
        levels = 5 if state.cr4 & CR4_LA57 else 4
        for found in tables.mapped(state.cr3 & ADDRESS, levels, 0, wide=True):
            top = 1 << (12 + 9 * levels - 1)  # the highest bit of an address is that of all above it
            linear = found.linear | (1 << 64) - 2 * top if found.linear & top else found.linear
            yield found._replace(linear=linear)
    elif state.cr4 & R.CR4_PAE:
        for index in range(4):
            entry = tables.entry(state.cr3 & 0xFFFFFFE0, index, wide=True)
            if entry & PRESENT:
                yield from tables.mapped(entry & ADDRESS, 2, index << 30, wide=True)
    else:
        yield from tables.mapped(state.cr3 & 0xFFFFF000, 2, 0, wide=False, large=bool(state.cr4 & CR4_PSE))


class _Tables:
    """Reads page tables."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._left = TABLES

    def entry(self, table: int, index: int, wide: bool) -> int:
        """An entry; 0 if the table is not RAM."""
        size = 8 if wide else 4
        try:
            return int.from_bytes(self._read(table + index * size, size), "little")
        except ValueError:
            return 0

    def page(self, table: int, level: int, linear: int, wide: bool, large: bool = True) -> Mapping | None:
        """The page of a linear address, from a table of a level."""
        bits = 9 if wide else 10
        while True:
            shift = 12 + bits * (level - 1)
            entry = self.entry(table, linear >> shift & (1 << bits) - 1, wide)
            if not entry & PRESENT:
                return None
            if level == 1 or (large and entry & LARGE and level <= 3):
                size = 1 << shift
                physical = entry & ADDRESS & -size if wide else _physical(entry, size)
                return Mapping(linear & -size, physical, size)
            table, level = entry & ADDRESS, level - 1

    def mapped(self, table: int, level: int, linear: int, wide: bool, large: bool = True) -> Iterator[Mapping]:
        """What a table of a level maps; level 1 has pages of 4 KiB."""
        if not self._left:
            return
        self._left -= 1
        bits = 9 if wide else 10
        try:
            entries = array("Q" if wide else "I", self._read(table, 4096))
        except ValueError:
            return
        shift = 12 + bits * (level - 1)
        for index, entry in enumerate(entries):
            if not entry & PRESENT:
                continue
            here = linear | index << shift
            if level == 1 or (large and entry & LARGE and level <= 3):
                size = 1 << shift
                physical = entry & ADDRESS & -size if wide else _physical(entry, size)
                yield Mapping(here, physical, size)
            else:
                yield from self.mapped(entry & ADDRESS, level - 1, here, wide, large)


def _physical(entry: int, size: int) -> int:
    """Of an entry of 32 bits; one of 4 MiB has the address bits 39 to 32 in its bits 20 to 13 (PSE-36)."""
    return entry & 0xFFFFF000 if size == 4096 else entry & 0xFFC00000 | (entry >> 13 & 0xFF) << 32
