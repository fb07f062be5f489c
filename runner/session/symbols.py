"""Names for guest addresses in the crash report."""

from vmspec.image.source import ImageError
from vmspec.image.symbols import read
from vmspec.spec.models import Boot


def symbol_at(boot: Boot, address: int) -> str | None:
    """``name+0x12`` of the symbol at or before an address, from ``boot.symbols`` or the kernel's own symbols."""
    for path in (boot.symbols, boot.kernel):
        if path is None:
            continue
        try:
            found = read(path).at(address)
        except ImageError:
            continue  # a crash report without a name is still a report
        if found is not None:
            return f"{found[0]}+{found[1]:#x}"
    return None
