"""Image files: what they are, their parts, their symbols.

The classes here are made anew at every start of the program: named tuples take a fifth of attrs classes' time. Names
are imported when they are first used: a plan that is kept needs few of them.
"""

from typing import TYPE_CHECKING

from vmspec.host.exports import exports

if TYPE_CHECKING:
    from vmspec.image.bzimage import BzImage
    from vmspec.image.elf import Elf
    from vmspec.image.kernel import identify
    from vmspec.image.source import ImageError, Source, opened

__all__ = ["BzImage", "Elf", "ImageError", "Source", "identify", "opened"]

__getattr__, __dir__ = exports(
    __name__,
    {
        "BzImage": "vmspec.image.bzimage",
        "Elf": "vmspec.image.elf",
        "ImageError": "vmspec.image.source",
        "Source": "vmspec.image.source",
        "identify": "vmspec.image.kernel",
        "opened": "vmspec.image.source",
    },
)
