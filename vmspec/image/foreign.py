"""Files that are given as kernels by mistake, or that need another loader: known by their first bytes."""

import struct

from vmspec.image.source import Source

# (offset, bytes there, what it is)
SIGNATURES = (
    (0, b"\x1f\x8b", "a gzip file: unpack it, or give the bzImage"),
    (0, b"\xfd7zXZ\x00", "an xz file: unpack it, or give the bzImage"),
    (0, b"\x28\xb5\x2f\xfd", "a zstd file: unpack it, or give the bzImage"),
    (0, b"\x02\x21\x4c\x18", "an lz4 file: unpack it, or give the bzImage"),
    (0, b"\x04\x22\x4d\x18", "an lz4 file: unpack it, or give the bzImage"),
    (0, b"BZh", "a bzip2 file: unpack it, or give the bzImage"),
    (0, b"070701", "a cpio archive, an initrd perhaps: it goes into boot.initrd"),
    (0, b"070702", "a cpio archive, an initrd perhaps: it goes into boot.initrd"),
    (0, b"!<arch>\n", "an archive (a package or a static library), not a kernel"),
    (0, b"QFI\xfb", "a qcow2 disk image, not a kernel"),
    (0, b"#!", "a script, not a kernel"),
    (0x38, b"ARM\x64", "an AArch64 Linux image, not for x86-64"),
    (0x38, b"RSC\x05", "a RISC-V Linux image, not for x86-64"),
    (0x8001, b"CD001", "an ISO 9660 disk image, not a kernel"),
    (0, b"MZ", "an EFI program without a Linux setup header, not a kernel"),
)
# (name, magic, bytes searched, alignment): multiboot 1 and 2, section 3.1
MULTIBOOT = (("multiboot", 0x1BADB002, 8192, 4), ("multiboot2", 0xE85250D6, 32768, 8))


def recognise(source: Source) -> str | None:
    """What the file is, in words that follow "is", or None."""
    head = source.start(0x8006)
    for offset, magic, name in SIGNATURES:
        if head[offset : offset + len(magic)] == magic:
            return name
    header = multiboot(head)
    return f"a {header} image, which is not supported" if header else None


def multiboot(head: bytes) -> str | None:
    """Which multiboot header the first bytes of a file hold, told by magic and checksum."""
    for name, magic, room, step in MULTIBOOT:
        at = -1
        while (at := head.find(struct.pack("<I", magic), at + 1, room)) >= 0:
            if at % step or at + 16 > len(head):
                continue
            words = struct.unpack_from("<4I", head, at)
            if not sum(words[:3] if name == "multiboot" else words) & 0xFFFFFFFF:
                return name
    return None
