"""The bzImage's setup header (Linux, Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header")."""

from typing import NamedTuple

from vmspec.image.source import ImageError, Source

SECTOR = 512
HEADER = 0x1F1  # of the setup header, in the file and in boot_params
MAGIC = 0x202
ROOM = 0x290 - HEADER  # room for it in boot_params

LOADED_HIGH = 1 << 0  # loadflags: the protected-mode part goes to 1 MiB, not to 64 KiB: a bzImage
XLF_KERNEL_64 = 1 << 0  # xloadflags: there is a 64-bit entry at 0x200
VERSION_TEXT = 0x20E  # kernel_version: where a text lies that names the program, less 0x200
NAME_MOST = 80  # bytes of it that are kept

CMDLINE_OLD = 255  # cmdline_size before protocol 2.06
INITRD_ADDR_MAX_OLD = 0x37FFFFFF  # initrd_addr_max before protocol 2.03


class BzImage(NamedTuple):
    """A Linux bzImage: the fields of its setup header under the boot protocol's names. Offsets are in the file,
    sizes bytes, addresses guest-physical. A field that the image's protocol version lacks has the protocol's
    default, or 0."""

    version: int  # protocol, 0x020f is 2.15
    header_size: int  # bytes of setup header from HEADER on
    setup_size: int  # offset of the protected-mode part
    kernel_size: int  # bytes of the protected-mode part
    code32_start: int
    initrd_addr_max: int
    kernel_alignment: int
    relocatable: bool
    entry64: bool  # has the 64-bit entry, 0x200 after the load address
    cmdline_size: int  # longest command line, without the NUL
    payload_offset: int  # of the compressed kernel, in the file; 0: not known
    payload_length: int
    pref_address: int
    init_size: int  # bytes from the run-time start that must be RAM; 0: not known
    low: bool  # the protected-mode part goes below 1 MiB, as a zImage's does
    name: str  # what the program calls itself; "" if it does not
    efi: bool  # it is an EFI program too


def recognise(source: Source) -> bool:
    """Whether the file has the setup header's magic."""
    return source.start(MAGIC + 4)[MAGIC:] == b"HdrS"


def read(source: Source) -> BzImage:
    """The setup header of a recognised bzImage, checked for consistency with itself and the file."""
    head = source.start(HEADER + ROOM)

    def number(offset: int, size: int, since: int = 0x0200, otherwise: int = 0) -> int:
        if version < since:
            return otherwise
        if offset + size > len(head):
            raise ImageError(f"truncated: the setup header ends at byte {offset + size}, the file has {source.size}")
        return int.from_bytes(head[offset : offset + size], "little")

    version = 0x0200
    version = number(0x206, 2)
    if not 0x0200 <= version < 0x0300:
        raise ImageError(f"boot protocol {version >> 8}.{version & 0xFF:02} is not 2.x")
    if number(0x1FE, 2) != 0xAA55:
        raise ImageError("a setup header without the boot sector's mark 0xaa55")
    header_size = 0x202 + head[0x201] - HEADER  # the jump instruction's distance marks the end of the header
    if header_size > ROOM:
        raise ImageError(f"a setup header of {header_size} bytes is longer than boot_params has room for")
    setup_size = ((number(HEADER, 1) or 4) + 1) * SECTOR
    # syssize is 16 bits wide before 2.04, and then has no meaning.
    kernel_size = number(0x1F4, 4, 0x0204) * 16 or source.size - setup_size
    # The last 16 bytes may be missing: syssize is rounded up.
    if setup_size + kernel_size > source.size + 15:
        raise ImageError(f"truncated: the kernel ends at byte {setup_size + kernel_size}, the file has {source.size}")
    kernel_size = min(kernel_size, source.size - setup_size)
    if kernel_size <= SECTOR:
        raise ImageError("truncated: there is no kernel after the setup header")

    relocatable = bool(number(0x234, 1, 0x0205))
    alignment = number(0x230, 4, 0x0205, 1)
    if relocatable and (not alignment or alignment & (alignment - 1)):
        raise ImageError(f"kernel_alignment {alignment:#x} is not a power of two")
    payload_offset, payload_length = number(0x248, 4, 0x0208), number(0x24C, 4, 0x0208)
    if payload_offset + payload_length > kernel_size:
        raise ImageError("the compressed kernel lies outside the file (payload_offset, payload_length)")
    return BzImage(
        version=version,
        header_size=header_size,
        setup_size=setup_size,
        kernel_size=kernel_size,
        code32_start=number(0x214, 4),
        initrd_addr_max=number(0x22C, 4, 0x0203, INITRD_ADDR_MAX_OLD),
        kernel_alignment=alignment,
        relocatable=relocatable,
        entry64=bool(number(0x236, 2, 0x020C) & XLF_KERNEL_64),
        cmdline_size=number(0x238, 4, 0x0206, CMDLINE_OLD),
        payload_offset=setup_size + payload_offset if payload_length else 0,
        payload_length=payload_length,
        pref_address=number(0x258, 8, 0x020A),
        init_size=number(0x260, 4, 0x020A),
        low=not number(0x211, 1) & LOADED_HIGH,
        name=_name(source, number(VERSION_TEXT, 2)),
        efi=head.startswith(b"MZ"),
    )


def _name(source: Source, at: int) -> str:
    """The text that names the program; ``at`` is the header's field, 0: there is none."""
    start = 0x200 + at
    text = source.start(start + NAME_MOST)[start:] if at else b""
    return text.split(b"\0")[0].decode("ascii", "replace")
