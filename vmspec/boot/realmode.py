"""Programs in the format of a bzImage that only their 16-bit setup code can start, since it asks a BIOS for what they
need: iPXE, MEMDISK, the zImages of old kernels and of Memtest86+ before version 6."""

from vmspec import layout
from vmspec.image import BzImage

MEMDISK = "MEMDISK "  # Syslinux: its version follows (memdisk/memdisk16.asm)


def why(image: BzImage) -> str | None:
    """Why the setup code must start a program, in words that follow "it"; None: Linux's 32-bit or 64-bit boot protocol
    can do so too."""
    if image.name.startswith(MEMDISK):
        return "takes the place of a disk of the BIOS"
    if image.low:
        return "is a zImage, which runs below 1 MiB"
    entry = image.relocatable or 0 <= image.code32_start - layout.HIGH_MEMORY < image.kernel_size
    return None if entry or image.entry64 else "has no 32-bit entry"


def called(image: BzImage) -> str:
    """What a message calls the program."""
    return f"it ({image.name})" if image.name.isprintable() and image.name else "it"
