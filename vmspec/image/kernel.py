"""The kind of a kernel file, by its content."""

from vmspec.image import bzimage, elf, foreign, multiboot
from vmspec.image.bzimage import BzImage
from vmspec.image.elf import Elf
from vmspec.image.source import ImageError, Source


def identify(source: Source, flat: bool = False) -> BzImage | Elf | None:
    """The kernel in a file, or None if no known format begins there: a flat image.

    Raises :class:`ImageError` for a damaged kernel and for a known but unsupported format. If the spec says that the
    image is ``flat``, such formats are not searched: machine code may begin with any bytes.
    """
    # Order matters: an EFI-capable bzImage also begins like a PE file.
    if elf.recognise(source):
        header = multiboot.find(source.start(multiboot.ROOM2))
        # Its loader enters 32-bit code; a 64-bit file may have a separate entry for it, apart from ours.
        if header is not None and not (header.entry and elf.is_64bit(source)):
            raise ImageError(f"is {foreign.multiboot_image(header)}")
        return elf.read(source)
    if bzimage.recognise(source):
        return bzimage.read(source)
    if not flat and (what := foreign.kernel(source)) is not None:
        raise ImageError(f"is {what}")
    return None
