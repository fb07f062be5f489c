"""A Linux kernel's ELF file with symbols, for gdb: those that the kernel has in itself (kallsyms), as an ELF symbol
table. Debian's packages have no such file: their System.map is a stub.
"""

import subprocess
import tempfile
from bisect import bisect_right
from pathlib import Path

from tests.guests import debian
from vmspec.image import symbols


def write(kernel: debian.Kernel, out: Path) -> None:
    """Write the kernel's ELF file with its symbols."""
    vmlinux = debian.vmlinux(kernel)
    sections = sorted(_sections(vmlinux))
    starts = [start for start, _, _ in sections]
    read = symbols.read(vmlinux)
    with tempfile.NamedTemporaryFile("w", suffix=".options") as options:
        for address, name in zip(read.addresses, read.names, strict=True):
            start, size, section = sections[max(0, bisect_right(starts, address) - 1)]
            if 0 <= address - start < size:
                kind = "function" if "text" in section else "object"
                options.write(f"--add-symbol={name}={section}:{address - start:#x},global,{kind}\n")
        options.flush()
        subprocess.run(["objcopy", f"@{options.name}", vmlinux, out], check=True)


def _sections(vmlinux: Path) -> list[tuple[int, int, str]]:
    """Addresses, sizes and names of the sections that are loaded."""
    text = subprocess.run(["objdump", "-hw", vmlinux], check=True, capture_output=True, text=True).stdout
    rows = [line.split() for line in text.splitlines() if "ALLOC" in line]
    return [(int(row[3], 16), int(row[2], 16), row[1]) for row in rows]
