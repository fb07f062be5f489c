"""Names for guest addresses in the crash report."""

from collections.abc import Iterable
from pathlib import Path

from vmspec.image.source import ImageError
from vmspec.image.symbols import read


def symbol_at(files: Iterable[Path], address: int) -> str | None:
    """``name+0x12`` of the symbol at or before an address, from the first of the files that has one."""
    for path in files:
        try:
            found = read(path).at(address)
        except ImageError:
            continue  # a crash report without names is still a report
        if found is not None:
            return f"{found[0]}+{found[1]:#x}"
    return None
