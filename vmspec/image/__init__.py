"""Image files: their kinds, their parts, their symbols.

The classes are named tuples: creating them takes a fifth of the time of attrs classes, in every start of the program.
Names are imported at first use: a kept plan needs few of them.
"""

from typing import TYPE_CHECKING

from vmspec.host.exports import exports

if TYPE_CHECKING:
    from vmspec.image.bzimage import BzImage
    from vmspec.image.elf import Elf
    from vmspec.image.kernel import identify
    from vmspec.image.multiboot import Multiboot
    from vmspec.image.source import ImageError, Source, opened
    from vmspec.image.wrapped import Wrapped

__all__ = ["BzImage", "Elf", "ImageError", "Multiboot", "Source", "Wrapped", "identify", "opened"]

__getattr__, __dir__ = exports(
    __name__,
    {
        "BzImage": "vmspec.image.bzimage",
        "Elf": "vmspec.image.elf",
        "ImageError": "vmspec.image.source",
        "Multiboot": "vmspec.image.multiboot",
        "Source": "vmspec.image.source",
        "Wrapped": "vmspec.image.wrapped",
        "identify": "vmspec.image.kernel",
        "opened": "vmspec.image.source",
    },
)
