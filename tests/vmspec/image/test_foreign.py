"""Files that are not a kernel or an initrd: each message says what the file is, and what to do."""

import bz2
import gzip
import lzma
import struct
from functools import partial
from pathlib import Path

import lz4.block
import lz4.frame
import pytest
import zstandard

from tests.vmspec.image import images
from vmspec.image import ImageError, foreign, identify, opened

CPIO = b"070701" + bytes(106) + b"TRAILER!!!"
KERNELS = "give a Linux kernel (bzImage or ELF vmlinux)"


def at(offset: int, magic: bytes, size: int = 0x11000) -> bytes:
    return (bytes(offset) + magic).ljust(size, b"\0")


def mbr(*partitions: bytes, size: int = 4096) -> bytes:
    return (b"\xfa".ljust(446, b"\0") + b"".join(partitions).ljust(64, b"\0") + b"\x55\xaa").ljust(size, b"\0")


def lz4_legacy(data: bytes) -> bytes:
    packed = lz4.block.compress(data, store_size=False)
    return b"\x02\x21\x4c\x18" + struct.pack("<I", len(packed)) + packed


PACKERS = {
    "a gzip file": partial(gzip.compress, mtime=0),  # else its time is in the names of tests
    "an xz file": lzma.compress,
    "a zstd file": zstandard.compress,
    "a bzip2 file": bz2.compress,
    "an lzma file": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "an lz4 file": lz4_legacy,
    "an lz4 file ": lz4.frame.compress,
}
KERNEL_CASES = [
    (CPIO, "a cpio archive, an initrd: give it as boot.initrd, and a kernel as boot.kernel"),
    *((pack(CPIO), f"{name.strip()} with a cpio archive in it, an initrd: ") for name, pack in PACKERS.items()),
    (gzip.compress(b"text", mtime=0), "a gzip file: unpack it, or give the bzImage"),
    (b"\x1f\x8b" + bytes(9), "a gzip file: unpack it, or give the bzImage"),  # damaged
    (b"\x89LZO\0\r\n\x1a\n" + bytes(9), "an LZO file"),
    (images.program(0x8664, 10, {}), "an EFI application for x86-64, which needs UEFI firmware"),
    (images.program(0xAA64, 11, {}), "an EFI boot service driver for AArch64"),
    (images.program(0x14C, 3, {}), "a Windows program for 32-bit x86"),
    (images.uki(0xAA64, linux=images.elf()), "a unified kernel image for EFI (AArch64): vmrun runs x86-64 guests"),
    (b"MZ" + bytes(100), "a DOS program"),
    (b"MZ\0\0zimg" + bytes(100), "a compressed EFI kernel of another architecture"),
    (at(0x38, b"ARM\x64"), "an AArch64 Linux image: vmrun runs x86-64 guests"),
    (at(0x38, b"RSC\x05"), "a RISC-V Linux image"),
    (at(0x24, b"\x18\x28\x6f\x01"), "an ARM Linux zImage"),
    (at(0, b"\x27\x05\x19\x56"), "a U-Boot image: take out what it wraps"),
    (at(0, b"\xd0\x0d\xfe\xed"), "a device tree, or a U-Boot FIT image"),
    (at(0, b"QFI\xfb"), "a qcow2 disk image"),
    (at(0, b"KDMV"), "a VMDK disk image"),
    (b"# Disk DescriptorFile\nversion=1\n", "a VMDK disk image"),
    (at(0x40, b"\x7f\x10\xda\xbe"), "a VDI disk image"),
    (at(0, b"conectix"), "a VHD disk image"),
    (at(0, b"vhdxfile"), "a VHDX disk image"),
    (at(0x8001, b"CD001"), "an ISO 9660 disk image: mount it"),
    (mbr(b"\0\0\2\0\xee" + bytes(11), size=512) + b"EFI PART" + bytes(99), "a disk image with a GPT"),
    (mbr(b"\x80\0\2\0\x83" + bytes(11)), "a disk image with an MBR"),
    (mbr(size=512), 'a boot sector: it needs a BIOS; without one it starts with boot.mode = "real"'),
    (at(0x438, b"\x53\xef"), "an ext2, ext3 or ext4 file system"),
    (at(0x10040, b"_BHRfS_M"), "a btrfs file system"),
    (at(0, b"hsqs"), "a squashfs file system"),
    (b"!<arch>\ndebian-binary   ", "a Debian package: unpack it: dpkg-deb -x"),
    (b"!<arch>\nstart.o/", "an archive of object files"),
    (at(257, b"ustar"), "a tar archive"),
    (b"PK\x03\x04" + bytes(9), "a zip archive"),
    (b"#!/bin/sh\nexit\n", "a script"),
    (b"# of mine\n\n[vm]\nname = 'x'\n", "a TOML or INI file; a spec is run by: vmrun SPEC"),
    (b"\xef\xbb\xbf[[device]]\r\nkind = 'serial'\r\n", "a TOML or INI file"),
    (b"<!DOCTYPE html>\n<html>\n", "an HTML or XML page, perhaps from a failed download"),
    (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer, not the file itself"),
    (b"ffffffff81000000 T _text\n", "a System.map: give it as boot.symbols"),
    (b"#\n# Automatically generated\n#\nCONFIG_64BIT=y\n", "a kernel configuration"),
    (b"070707" + bytes(70), "a cpio archive of the old format"),
]
INITRD_CASES = [
    (images.bzimage(), "a Linux kernel (bzImage), not an initrd: give it as boot.kernel"),
    (images.elf(), "an ELF kernel or program, not an initrd: give it as boot.kernel"),
    (
        gzip.compress(images.elf(), mtime=0),
        "a gzip file with an ELF kernel or program in it, not an initrd: give it as boot.kernel",
    ),
    (at(0, b"QFI\xfb"), "a qcow2 disk image, not an initrd"),
    (at(0x8001, b"CD001"), "an ISO 9660 disk image, not an initrd"),
    (at(0, b"\x27\x05\x19\x56"), "a U-Boot image, not an initrd: take out what it wraps"),
    (at(257, b"ustar"), "a tar archive, not an initrd: unpack it; an initrd is a cpio archive"),
    (b"070707" + bytes(70), "a cpio archive of the old format, not an initrd: make it again with cpio -o -H newc"),
    (images.program(0x8664, 10, {}), "an EFI application for x86-64, which needs UEFI firmware, not an initrd"),
    (b"#!/bin/sh\n", "a script, not an initrd"),
    (b"[vm]\nname = 'x'\n", "a TOML or INI file; a spec is run by: vmrun SPEC, not an initrd"),
]


def write(tmp_path: Path, data: bytes) -> Path:
    (tmp_path / "image").write_bytes(data)
    return tmp_path / "image"


@pytest.mark.parametrize(("data", "what"), KERNEL_CASES)
def test_what_is_no_kernel_is_named(tmp_path: Path, data: bytes, what: str) -> None:
    with opened(write(tmp_path, data)) as source, pytest.raises(ImageError) as error:
        identify(source)
    assert str(error.value).startswith(f"is {what}")


@pytest.mark.parametrize(("data", "what"), INITRD_CASES)
def test_what_is_no_initrd_is_named(tmp_path: Path, data: bytes, what: str) -> None:
    with opened(write(tmp_path, data)) as source:
        assert (foreign.initrd(source) or "").startswith(what)


@pytest.mark.parametrize(
    "data",
    [
        CPIO,
        *(pack(CPIO) for pack in PACKERS.values()),
        b"anything",
        at(0x438, b"\x53\xef"),  # an old-style RAM disk (Documentation/admin-guide/initrd.rst)
        at(0, b"hsqs"),
        b"\x1f\x8b" + bytes(9),
    ],
)
def test_what_may_be_an_initrd(tmp_path: Path, data: bytes) -> None:
    with opened(write(tmp_path, data)) as source:
        assert foreign.initrd(source) is None


@pytest.mark.parametrize(("make", "what"), [(Path.mkdir, "a directory"), (Path.touch, "empty")])
def test_what_is_no_file_is_named(tmp_path: Path, make, what: str) -> None:  # type: ignore[no-untyped-def]
    make(tmp_path / "image")
    with pytest.raises(ImageError, match=f"is {what}"), opened(tmp_path / "image"):
        pass
