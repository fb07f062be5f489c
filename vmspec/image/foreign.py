"""Files given by mistake as a kernel or an initrd, or that need another loader: recognised by their first bytes."""

import re
from typing import NamedTuple

from vmspec.image import compression, multiboot, pe
from vmspec.image.source import Source

HEAD = 0x10048  # bytes examined: btrfs has its magic number the furthest away

CPIO = (b"070701", b"070702")  # newc, without and with checksums: what Linux unpacks (init/initramfs.c)
GZIP = b"\x1f\x8b"
TO_INITRD = "give it as boot.initrd, and a kernel as boot.kernel"
TO_KERNEL = "give it as boot.kernel"
NEED_KERNEL = "give a Linux kernel (bzImage or ELF vmlinux)"


class Format(NamedTuple):
    """A format with ``magic`` at ``offset``. ``advice`` says what to do if it was given as a kernel; None: give a
    kernel. As an initrd it is rejected unless Linux could use it as one (``disk``: as an old-style RAM disk). A
    ``container`` holds a disk in a format of its own, which a spec calls so."""

    offset: int
    magic: bytes
    name: str
    advice: str | None = None
    disk: bool = False
    container: str | None = None


FORMATS = (
    Format(0x38, b"ARM\x64", "an AArch64 Linux image", "vmrun runs x86-64 guests"),
    Format(0x38, b"RSC\x05", "a RISC-V Linux image", "vmrun runs x86-64 guests"),
    Format(0x24, b"\x18\x28\x6f\x01", "an ARM Linux zImage", "vmrun runs x86-64 guests"),
    Format(4, b"zimg", "a compressed EFI kernel of another architecture", "vmrun runs x86-64 guests"),
    Format(0, b"\x27\x05\x19\x56", "a U-Boot image", "take out what it wraps: dumpimage -p 0 -o FILE IMAGE"),
    Format(0, b"\xd0\x0d\xfe\xed", "a device tree, or a U-Boot FIT image", "take the kernel out: dumpimage -l IMAGE"),
    Format(0, b"!<arch>\ndebian-binary", "a Debian package", "unpack it: dpkg-deb -x PACKAGE FOLDER"),
    Format(0, b"!<arch>\n", "an archive of object files"),
    Format(0, b"\xed\xab\xee\xdb", "an RPM package", "unpack it: rpm2cpio PACKAGE | cpio -id"),
    Format(0, b"PK\x03\x04", "a zip archive", "unpack it"),
    Format(257, b"ustar", "a tar archive", "unpack it; an initrd is a cpio archive"),
    Format(0, b"QFI\xfb", "a qcow2 disk image", container="qcow2"),
    Format(0, b"KDMV", "a VMDK disk image", container="vmdk"),
    Format(0, b"# Disk DescriptorFile", "a VMDK disk image", container="vmdk"),
    Format(0x40, b"\x7f\x10\xda\xbe", "a VDI disk image", container="vdi"),
    Format(0, b"conectix", "a VHD disk image", container="vpc"),
    Format(0, b"vhdxfile", "a VHDX disk image", container="vhdx"),
    Format(0x8001, b"CD001", "an ISO 9660 disk image", "mount it: kernel and initrd are in /boot, /live or /isolinux"),
    Format(512, b"EFI PART", "a disk image with a GPT"),
    Format(4096, b"EFI PART", "a disk image with a GPT"),
    Format(0, b"hsqs", "a squashfs file system", disk=True),
    Format(0x438, b"\x53\xef", "an ext2, ext3 or ext4 file system", disk=True),
    Format(0x400, b"\xe2\xe1\xf5\xe0", "an EROFS file system", disk=True),
    Format(0, b"\x45\x3d\xcd\x28", "a cramfs file system", disk=True),
    Format(0, b"-rom1fs-", "a romfs file system", disk=True),
    Format(0, b"XFSB", "an XFS file system", disk=True),
    Format(0x10040, b"_BHRfS_M", "a btrfs file system", disk=True),
    Format(0x36, b"FAT", "a FAT file system", disk=True),
    Format(0x52, b"FAT32", "a FAT file system", disk=True),
    Format(0, b"#!", "a script"),
    Format(0, b"version https://git-lfs", "a Git LFS pointer, not the file itself", "fetch it: git lfs pull"),
    Format(0, b"070707", "a cpio archive of the old format", "make it again with cpio -o -H newc, for boot.initrd"),
    Format(0, b"\xc7\x71", "a cpio archive of the old format", "make it again with cpio -o -H newc, for boot.initrd"),
)
# Formats of disks, as QEMU calls them.
CONTAINERS = tuple(dict.fromkeys(each.container for each in FORMATS if each.container is not None))
# Kinds of text, by a pattern of the first line that is neither empty nor a comment.
TEXTS = (
    (rb"(?i)<!doctype html|<html|<\?xml", "an HTML or XML page, perhaps from a failed download", NEED_KERNEL),
    (rb"\[\[?[A-Za-z0-9_.\" -]+\]\]?\s*(#|$)", "a TOML or INI file; a spec is run by: vmrun SPEC", NEED_KERNEL),
    (rb"[0-9a-f]{8,16} [A-Za-z?] \S+", "a System.map", "give it as boot.symbols, and the kernel as boot.kernel"),
    (rb"CONFIG_[A-Z0-9_]+=", "a kernel configuration", NEED_KERNEL),
)
EFI = {10: "application", 11: "boot service driver", 12: "run-time driver"}


def kernel(source: Source) -> str | None:
    """The kind of a file that was given as a kernel and is none, in words that follow "is"; None: unknown."""
    head = source.start(HEAD)
    if head.startswith(CPIO):
        return f"a cpio archive, an initrd: {TO_INITRD}"
    if (packed := compression.peek(source)) is not None:
        return _packed(*packed)
    found = _format(head) or _program(head)
    if found is None and multiboot.find(head):
        return None
    found = found or _text(head) or _boot_sector(head, source.size)
    return f"{found[0]}: {found[1]}" if found is not None else None


def firmware(source: Source) -> str | None:
    """The kind of a file that was given as firmware and is no ROM image, in words that follow "is"; None: unknown."""
    head = source.start(HEAD)
    if (what := kernel_name(head)) is not None:
        return f"{what}, not a ROM image: {TO_KERNEL}"
    if (packed := compression.peek(source)) is not None:
        return f"{packed[0]}: unpack it"
    for found in FORMATS:
        if found.container and head[found.offset : found.offset + len(found.magic)] == found.magic:
            return f"{found.name}: make a raw ROM image of it with qemu-img convert -O raw IMAGE NEW"
    return None


def disk(head: bytes, form: str | None = None) -> str | None:
    """What a file with these first bytes is that was given as a disk of a format; None: it may be one. Without ``form``
    it was given where only a raw one can be."""
    for found in FORMATS:
        if found.container and head[found.offset : found.offset + len(found.magic)] == found.magic:
            if found.container == form:
                return None
            raw = "make it a raw one with qemu-img convert -O raw IMAGE NEW"
            return f"is {found.name}: {raw}" + (f', or give format = "{found.container}"' if form else "")
    # A VHD of a fixed size has its mark at its end.
    return None if form in (None, "raw", "vpc") else f'is no {form} image: give another format, or "raw"'


def initrd(source: Source) -> str | None:
    """The kind of a file that was given as an initrd and that Linux could not use as one; None: it may be one."""
    head = source.start(HEAD)
    if (what := kernel_name(head)) is not None:
        return f"{what}, not an initrd: {TO_KERNEL}"
    if head.startswith(CPIO):
        return None
    # Only quick checks: every start has them.
    if head.startswith(GZIP) and (packed := compression.peek(source)) is not None:
        what = kernel_name(packed[1])
        return f"{packed[0]} with {what} in it, not an initrd: {TO_KERNEL}" if what is not None else None
    for found in FORMATS:
        if not found.disk and head[found.offset : found.offset + len(found.magic)] == found.magic:
            return f"{found.name}, not an initrd" + (f": {found.advice}" if found.advice else "")
    if (text := _program(head) or _text(head)) is not None:
        return f"{text[0]}, not an initrd"
    return None


def _packed(name: str, head: bytes) -> str:
    """The kind of a compressed file, from its first unpacked bytes."""
    if head.startswith(CPIO):
        return f"{name} with a cpio archive in it, an initrd: {TO_INITRD}"
    return f"{name}: unpack it, or give the bzImage"


def kernel_name(head: bytes) -> str | None:
    """The kernel that begins with these bytes, by name."""
    if head[0x202:0x206] == b"HdrS":
        return "a Linux kernel (bzImage)"
    if head.startswith(b"\x7fELF"):
        return "an ELF kernel or program"
    return None


def _format(head: bytes) -> tuple[str, str] | None:
    for found in FORMATS:
        if head[found.offset : found.offset + len(found.magic)] == found.magic:
            return found.name, found.advice or NEED_KERNEL
    return None


def _program(head: bytes) -> tuple[str, str] | None:
    """A program for EFI, Windows or DOS."""
    if not pe.recognise(head):
        return None
    program = pe.read(head)
    if program is None:
        return "a DOS program", NEED_KERNEL
    if ".linux" in program.sections:
        return f"a unified kernel image for EFI ({program.cpu})", "vmrun runs x86-64 guests"
    if program.subsystem in EFI:
        return f"an EFI {EFI[program.subsystem]} for {program.cpu}, which needs UEFI firmware", NEED_KERNEL
    return f"a Windows program for {program.cpu}", NEED_KERNEL


def _text(head: bytes) -> tuple[str, str] | None:
    """The kind of a text, if it is known."""
    for line in head[:4096].removeprefix(b"\xef\xbb\xbf").splitlines():
        if not line.strip() or line.startswith((b"#", b";")):
            continue
        return next(((name, advice) for like, name, advice in TEXTS if re.match(like, line)), None)
    return None


def _boot_sector(head: bytes, size: int) -> tuple[str, str] | None:
    """A PC's boot sector, alone or before a partitioned disk."""
    if head[510:512] != b"\x55\xaa":
        return None
    entries = [head[at : at + 16] for at in range(446, 510, 16)]
    if size > 512 and any(entry[4] for entry in entries) and all(entry[0] in (0, 0x80) for entry in entries):
        return "a disk image with an MBR", NEED_KERNEL
    return "a boot sector", 'it needs a BIOS; without one it starts with boot.mode = "real" and boot.load = 0x7c00'
