"""The size of what a kernel gets from its loader by PVH or Multiboot; runner/boot/information.py writes it."""

from collections.abc import Sequence
from struct import calcsize

from vmspec.registers import bootinfo as B


def size(protocol: str, cmdline: bytes, lines: Sequence[bytes], entries: int, acpi: bool) -> int:
    """Its bytes. ``lines`` are the modules' command lines, ``entries`` counts those of the memory map."""
    strings = sum(len(line) + 1 for line in lines)
    match protocol:
        case "pvh":
            return (
                calcsize(B.START_INFO)
                + calcsize(B.PVH_MODULE) * len(lines)
                + calcsize(B.PVH_MEMORY) * entries
                + strings
            )
        case "multiboot":
            fixed = calcsize(B.INFO1) + len(B.LOADER_NAME) + 1
            return fixed + calcsize(B.MODULE1) * len(lines) + calcsize(B.MEMORY1) * entries + strings
        case _:
            bodies = [
                len(cmdline) + 1,
                len(B.LOADER_NAME) + 1,
                *(calcsize(B.MODULE2) + len(line) + 1 for line in lines),
            ]
            bodies += [
                calcsize(B.BASIC2),
                calcsize(B.MAP2) + calcsize(B.MEMORY2) * entries,
                *([B.RSDP_SIZE] if acpi else ()),
                0,
            ]
            return calcsize(B.INFO2) + sum(padded(calcsize(B.TAG2) + body) for body in bodies)


def padded(size: int) -> int:
    """The bytes that a tag of Multiboot 2 takes."""
    return -(-size // 8) * 8
