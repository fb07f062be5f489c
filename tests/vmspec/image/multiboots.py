"""Multiboot headers (specification 0.6.96 and 2.0, section 3.1), field by field."""

import struct


def multiboot1(flags: int = 3, addresses: tuple[int, ...] = ()) -> bytes:
    """A header of version 1; ``addresses`` are those of the header, the load, its end, the end of zeros, the entry."""
    head = struct.pack("<III", 0x1BADB002, flags, -(0x1BADB002 + flags) & 0xFFFFFFFF)
    return (head + struct.pack(f"<{len(addresses)}I", *addresses)).ljust(32, b"\0")


def multiboot2(*tags: tuple[int, int, bytes], architecture: int = 0) -> bytes:
    """A header of version 2; a tag is (type, flags, content)."""
    body = b""
    for kind, flags, content in (*tags, (0, 0, b"")):
        tag = struct.pack("<HHI", kind, flags, 8 + len(content)) + content
        body += tag.ljust(-(-len(tag) // 8) * 8, b"\0")
    length = 16 + len(body)
    checksum = -(0xE85250D6 + architecture + length) & 0xFFFFFFFF
    return struct.pack("<IIII", 0xE85250D6, architecture, length, checksum) + body
