"""Multiboot headers (Multiboot Specification 0.6.96 and 2.0, section 3.1): kernels that GRUB, or vmrun, loads."""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from vmspec.image.elf import Elf
from vmspec.image.source import ImageError
from vmspec.registers.bootinfo import GIVEN2

# Magic number, bytes of the file in which it is searched, alignment.
MAGIC1, ROOM1, STEP1 = 0x1BADB002, 8192, 4
MAGIC2, ROOM2, STEP2 = 0xE85250D6, 32768, 8
# Flags of version 1. A loader that does not know one of the lower 16 must not start the kernel.
ALIGN, MEMORY, VIDEO, ADDRESSES = 1 << 0, 1 << 1, 1 << 2, 1 << 16
KNOWN1 = ALIGN | MEMORY | VIDEO
# Tags of version 2; with the flag, a loader that does not know one starts the kernel nevertheless.
END, REQUEST, ADDRESS, ENTRY, CONSOLE, FRAMEBUFFER, MODULE_ALIGN, EFI, EFI_ENTRY32, EFI_ENTRY64, RELOCATABLE = range(11)
OPTIONAL = 1
WHOLE = 0xFFFFFFFF  # a load address: the file goes to memory from its first byte on, so that the header is in its place
KNOWN2 = (ADDRESS, ENTRY, CONSOLE, MODULE_ALIGN, EFI_ENTRY32, EFI_ENTRY64, RELOCATABLE)
TAGS = {FRAMEBUFFER: "a framebuffer", EFI: "EFI's boot services"}
I386 = 0  # the architecture


class Addresses(NamedTuple):
    """Where a file goes that is no ELF file: its byte ``offset`` to ``load``, up to ``load_end`` (0: the file's end),
    then zeros up to ``bss_end`` (0: none)."""

    offset: int
    load: int
    load_end: int
    bss_end: int


class Header(NamedTuple):
    """A header of version 1 or 2: ``addresses`` and ``entry`` if it has its own, ``video`` if the kernel asks for a
    video mode, ``unmet`` what it needs that vmrun has not, by names."""

    version: int
    addresses: Addresses | None = None
    entry: int | None = None
    video: bool = False
    unmet: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return "Multiboot" if self.version == 1 else "Multiboot 2"


class Multiboot(NamedTuple):
    """A kernel with a header of each version or of one, and the ELF file that it is, if it is one."""

    headers: tuple[Header, ...]
    elf: Elf | None


def find(head: bytes) -> tuple[Header, ...]:
    """The headers in the first 32 KiB of a file, recognised by magic number, place and checksum: the first of each
    version. Raises ImageError for addresses that contradict each other."""
    found: tuple[Header, ...] = ()
    for at in _places(head, MAGIC1, ROOM1, STEP1):
        flags, checksum = struct.unpack_from("<II", head, at + 4)
        if not (MAGIC1 + flags + checksum) & 0xFFFFFFFF:
            found += (_version1(head, at, flags),)
            break
    for at in _places(head, MAGIC2, ROOM2, STEP2):
        architecture, length, checksum = struct.unpack_from("<III", head, at + 4)
        if not (MAGIC2 + architecture + length + checksum) & 0xFFFFFFFF:
            found += (_version2(head, at, architecture, length),)
            break
    return found


def _places(head: bytes, magic: int, room: int, step: int) -> list[int]:
    word, places, at = struct.pack("<I", magic), [], -1
    while (at := head.find(word, at + 1, room)) >= 0:
        if at % step == 0 and at + 16 <= len(head):
            places.append(at)
    return places


def _version1(head: bytes, at: int, flags: int) -> Header:
    unmet = tuple(f"what flag {bit} stands for" for bit in range(16) if flags & ~KNOWN1 & 1 << bit)
    header = Header(1, video=bool(flags & VIDEO), unmet=unmet)
    if not flags & ADDRESSES:
        return header
    if at + 32 > len(head):
        raise ImageError("truncated: a Multiboot header with addresses has 32 bytes")
    where, load, load_end, bss_end, entry = struct.unpack_from("<5I", head, at + 12)
    return header._replace(addresses=_addresses(at, where, load, load_end, bss_end), entry=entry)


def _version2(head: bytes, at: int, architecture: int, length: int) -> Header:
    unmet: tuple[str, ...] = () if architecture == I386 else (f"the architecture {architecture}",)
    addresses = entry = None
    for kind, flags, body in _tags(head[at + 16 : at + length]):
        match kind:
            case _ if kind == ADDRESS and len(body) >= 16:
                where, load, *ends = struct.unpack_from("<4I", body)
                addresses = _addresses(at, where, where - at if load == WHOLE else load, *ends)
            case _ if kind == ENTRY and len(body) >= 4:
                entry = int.from_bytes(body[:4], "little")
            case _ if kind == REQUEST and not flags & OPTIONAL:
                wanted = struct.unpack(f"<{len(body) // 4}I", body[: len(body) // 4 * 4])
                unmet += tuple(f"the information of type {one}" for one in wanted if one not in GIVEN2)
            case _ if kind not in (*KNOWN2, REQUEST) and not flags & OPTIONAL:
                unmet += (TAGS.get(kind, f"what tag {kind} stands for"),)
    return Header(2, addresses, entry, unmet=unmet)


def _addresses(at: int, where: int, load: int, load_end: int, bss_end: int) -> Addresses:
    if not 0 <= load <= where or where - load > at:
        raise ImageError(f"its Multiboot header is at byte {at}, and is not where its addresses say ({where:#x})")
    if (load_end and load_end < load) or (bss_end and bss_end < load_end):
        raise ImageError(f"the addresses of its Multiboot header end before they begin ({load:#x})")
    return Addresses(at - (where - load), load, load_end, bss_end)


def _tags(tags: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Type, flags and content of each."""
    at = 0
    while at + 8 <= len(tags):
        kind, flags, size = struct.unpack_from("<HHI", tags, at)
        if kind == END or size < 8:
            break
        yield kind, flags, tags[at + 8 : at + size]
        at += -(-size // 8) * 8
