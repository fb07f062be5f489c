"""Linux's struct boot_params, the "zero page" (asm/bootparam.h; Documentation/arch/x86/zero-page.rst)."""

import os
import struct
from collections.abc import Callable

from runner.boot.images import Images
from vmspec import layout
from vmspec.image import ImageError, bzimage
from vmspec.plan.plan import Placement, Plan

# Offsets in boot_params; those from 0x1f1 on are the setup header's.
ACPI_RSDP_ADDR = 0x070
EXT_RAMDISK_IMAGE, EXT_RAMDISK_SIZE, EXT_CMD_LINE_PTR = 0x0C0, 0x0C4, 0x0C8
E820_ENTRIES, E820_TABLE = 0x1E8, 0x2D0
VID_MODE, BOOT_FLAG, HEADER, VERSION = 0x1FA, 0x1FE, 0x202, 0x206
TYPE_OF_LOADER, LOADFLAGS, CODE32_START = 0x210, 0x211, 0x214
RAMDISK_IMAGE, RAMDISK_SIZE, CMD_LINE_PTR = 0x218, 0x21C, 0x228

SETUP_DATA = 0x250

SETUP_RNG_SEED = 9  # Linux 6.0; older kernels ignore it
SEED = struct.Struct("<QII32s")  # struct setup_data: next, type, length, data
VIDEO_NORMAL = 0xFFFF  # vid_mode: leave the mode as it is
LOADER_UNDEFINED = 0xFF  # type_of_loader: a loader without an assigned number
LOW32 = 0xFFFFFFFF


def build(plan: Plan, placement: Placement, images: Images) -> bytes:
    """The page for a planned Linux guest: the image's own setup header, with the loader's fields filled in."""
    page = bytearray(layout.BOOT_PARAMS_SIZE)

    def put(offset: int, size: int, value: int) -> None:
        page[offset : offset + size] = value.to_bytes(size, "little")

    if placement.path is None:
        _without_header(put)
    else:
        header = _setup_header(placement, images)
        page[bzimage.HEADER : bzimage.HEADER + len(header)] = header
        # A relocatable kernel's decompressor reads its destination from this field.
        kernel = plan.placement("kernel")
        assert kernel is not None
        if plan.protocol == "linux64":
            put(CODE32_START, 4, kernel.address)
        elif plan.protocol == "linux32":
            put(CODE32_START, 4, plan.entry.rip)
    put(VID_MODE, 2, VIDEO_NORMAL)
    put(TYPE_OF_LOADER, 1, LOADER_UNDEFINED)
    if cmdline := plan.placement("cmdline"):
        put(CMD_LINE_PTR, 4, cmdline.address & LOW32)
        put(EXT_CMD_LINE_PTR, 4, cmdline.address >> 32)
    if initrd := plan.placement("initrd"):
        put(RAMDISK_IMAGE, 4, initrd.address & LOW32)
        put(EXT_RAMDISK_IMAGE, 4, initrd.address >> 32)
        put(RAMDISK_SIZE, 4, initrd.size & LOW32)
        put(EXT_RAMDISK_SIZE, 4, initrd.size >> 32)
    if acpi := plan.placement("acpi"):
        put(ACPI_RSDP_ADDR, 8, acpi.address)
    if entropy := plan.placement("rng-seed"):
        put(SETUP_DATA, 8, entropy.address)
    put(E820_ENTRIES, 1, len(plan.e820))
    for index, entry in enumerate(plan.e820):
        struct.pack_into("<QQI", page, E820_TABLE + 20 * index, entry.start, entry.size, entry.type)
    return bytes(page)


def seed(number: int) -> bytes:
    """The entry of setup_data that seeds Linux's random numbers, from a number of 64 bits."""
    from hashlib import blake2b  # late: few runs need it

    data = blake2b(number.to_bytes(8, "little"), digest_size=32).digest()
    return SEED.pack(0, SETUP_RNG_SEED, len(data), data)


def _setup_header(placement: Placement, images: Images) -> bytes:
    """The setup header as in the bzImage. The jump instruction at 0x200 says where it ends."""
    assert placement.path is not None
    header = os.pread(images.descriptor(placement.path), bzimage.ROOM, placement.offset)
    jump = 0x201 - bzimage.HEADER
    if len(header) <= jump:
        raise ImageError(f"{placement.path} is shorter than it was when the plan was made")
    return header[: 0x202 - bzimage.HEADER + header[jump]]


def _without_header(put: Callable[[int, int, int], None]) -> None:
    """The setup header for an ELF kernel, which has none of its own."""
    put(BOOT_FLAG, 2, 0xAA55)
    put(HEADER, 4, int.from_bytes(b"HdrS", "little"))
    put(VERSION, 2, 0x020F)  # protocol version: Linux reads the fields that it has
    put(LOADFLAGS, 1, bzimage.LOADED_HIGH)
