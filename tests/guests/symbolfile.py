"""A Linux kernel's ELF file with symbols, for gdb: those that the kernel has in itself (kallsyms), as an ELF symbol
table. Debian's packages have no such file: their System.map is a stub.
"""

import subprocess
from collections.abc import Collection
from pathlib import Path

from tests.guests import debian
from vmspec.image import symbols


def write(kernel: debian.Kernel, names: Collection[str], out: Path) -> None:
    """Write the kernel's ELF file with these symbols. Raises DebianError if the kernel has no such symbol."""
    vmlinux = debian.vmlinux(kernel)
    read = symbols.read(vmlinux)
    found = {name: address for address, name in zip(read.addresses, read.names, strict=True) if name in names}
    if missing := set(names) - found.keys():
        raise debian.DebianError(f"{vmlinux} has no symbol {', '.join(sorted(missing))}")
    sections = _sections(vmlinux)
    words = []
    for name, address in found.items():
        section, start = next((name, start) for name, start, size in sections if start <= address < start + size)
        words.append(f"--add-symbol={name}={section}:{address - start:#x},global")
    subprocess.run(["objcopy", *words, vmlinux, out], check=True)


def _sections(vmlinux: Path) -> list[tuple[str, int, int]]:
    """Names, addresses and sizes of the sections that are loaded."""
    text = subprocess.run(["objdump", "-hw", vmlinux], check=True, capture_output=True, text=True).stdout
    rows = [line.split() for line in text.splitlines() if "ALLOC" in line]
    return [(row[1], int(row[3], 16), int(row[2], 16)) for row in rows]
