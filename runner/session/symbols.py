"""Names for guest addresses in the crash report."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from vmspec.image.source import ImageError
from vmspec.image.symbols import Symbols, read


def tables(files: Iterable[Path]) -> Iterator[Symbols]:
    """The symbols of those files that have some."""
    for path in files:
        try:
            yield read(path)
        except ImageError:
            continue  # a crash report without names is still a report


def symbol_at(files: Iterable[Path], address: int) -> str | None:
    """``name+0x12`` of the symbol at or before an address, from the first of the files that has one."""
    return name_of(tables(files), address)


def name_of(found: Iterable[Symbols], address: int) -> str | None:
    """The same, from tables that were read already."""
    for table in found:
        if (name := table.at(address)) is not None:
            return f"{name[0]}+{name[1]:#x}"
    return None
