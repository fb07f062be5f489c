"""The kind of a kernel file, by its content."""

from typing import TYPE_CHECKING

from vmspec.image import bzimage, elf, foreign, multiboot
from vmspec.image.bzimage import BzImage
from vmspec.image.elf import Elf
from vmspec.image.multiboot import Multiboot
from vmspec.image.source import ImageError, Source

if TYPE_CHECKING:
    from vmspec.image.wrapped import Wrapped


def identify(source: Source, flat: bool = False) -> "BzImage | Elf | Multiboot | Wrapped | None":
    """The kernel in a file, what it is wrapped in, or None if no known format begins there: a flat image.

    Raises :class:`ImageError` for a damaged kernel and for a known but unsupported format. If the spec says that the
    image is ``flat``, such formats are not searched: machine code may begin with any bytes.
    """
    # Order matters: an EFI-capable bzImage also begins like a PE file.
    if elf.recognise(source):
        headers = multiboot.find(source.start(multiboot.ROOM2))
        program = elf.read(source)
        return Multiboot(headers, program) if headers else program
    if bzimage.recognise(source):
        return bzimage.read(source)
    if flat:
        return None
    from vmspec.image import wrapped  # late: few kernels are

    if (inner := wrapped.find(source)) is not None:
        return inner
    if (what := foreign.kernel(source)) is not None:
        raise ImageError(f"is {what}")
    headers = multiboot.find(source.start(multiboot.ROOM2))
    return Multiboot(headers, None) if headers else None
