"""Multiboot headers (Multiboot Specification 0.6.96 and 2.0, section 3.1), for kernels that GRUB loads, such as Xen."""

import struct
from typing import NamedTuple

# Magic number, bytes of the file in which it is searched, alignment.
MAGIC1, ROOM1, STEP1 = 0x1BADB002, 8192, 4
MAGIC2, ROOM2, STEP2 = 0xE85250D6, 32768, 8
ADDRESSES = 1 << 16  # flag of version 1: the header itself has the addresses
END, ENTRY = 0, 3  # tags of version 2


class Header(NamedTuple):
    """A header: ``entry`` if it has an entry other than the ELF file's."""

    name: str
    entry: bool


def find(head: bytes) -> Header | None:
    """The header in the first 32 KiB of a file, recognised by magic number, place and checksum."""
    for at in _places(head, MAGIC1, ROOM1, STEP1):
        flags, checksum = struct.unpack_from("<II", head, at + 4)
        if not (MAGIC1 + flags + checksum) & 0xFFFFFFFF:
            return Header("Multiboot", bool(flags & ADDRESSES))
    for at in _places(head, MAGIC2, ROOM2, STEP2):
        architecture, length, checksum = struct.unpack_from("<III", head, at + 4)
        if not (MAGIC2 + architecture + length + checksum) & 0xFFFFFFFF:
            return Header("Multiboot 2", ENTRY in _tags(head[at + 16 : at + length]))
    return None


def _places(head: bytes, magic: int, room: int, step: int) -> list[int]:
    word, places, at = struct.pack("<I", magic), [], -1
    while (at := head.find(word, at + 1, room)) >= 0:
        if at % step == 0 and at + 16 <= len(head):
            places.append(at)
    return places


def _tags(tags: bytes) -> set[int]:
    found, at = set(), 0
    while at + 8 <= len(tags):
        kind, _, size = struct.unpack_from("<HHI", tags, at)
        if kind == END or size < 8:
            break
        found.add(kind)
        at += -(-size // 8) * 8
    return found
