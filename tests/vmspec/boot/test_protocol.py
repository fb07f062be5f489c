"""The protocol by which an image is started."""

import pytest

from vmspec.boot.protocol import choose
from vmspec.image import Elf, ImageError, Multiboot
from vmspec.image.elf import Segment
from vmspec.image.multiboot import Header

SEGMENT = (Segment(0x100000, 0x100000, 0, 16, 16),)
LINUX = Elf(0x100000, SEGMENT, 64, 0x100008, "linux")
PLAIN = Elf(0x100000, SEGMENT)
SMALL = Elf(0x100000, SEGMENT, 32)
ONE, TWO = Header(1), Header(2)


@pytest.mark.parametrize(
    ("image", "name", "why"),
    [
        (PLAIN, "linux", ""),
        (LINUX, "linux", ""),
        (PLAIN._replace(pvh=0x100000), "linux", ""),
        (LINUX._replace(guest_os="FreeBSD"), "pvh", "its notes call it FreeBSD, not linux"),
        (SMALL._replace(pvh=0x100000), "pvh", "it has Xen's note of a 32-bit entry"),
        (Multiboot((ONE,), None), "multiboot", "it has a Multiboot header"),
        (Multiboot((TWO,), SMALL), "multiboot2", "it has a Multiboot 2 header"),
        (Multiboot((ONE, TWO), SMALL._replace(pvh=1)), "multiboot", "it has a Multiboot header"),
        (Multiboot((ONE,), PLAIN), "multiboot", "it has a Multiboot header"),
        # A 64-bit file with an entry for Multiboot alone has another one, as some Linux kernels do.
        (Multiboot((ONE._replace(entry=1),), PLAIN), "linux", ""),
    ],
)
def test_as_the_image_says(image: Elf | Multiboot, name: str, why: str) -> None:
    assert choose(image, None) == (name, why)


@pytest.mark.parametrize(
    ("image", "asked"),
    [(LINUX, "pvh"), (LINUX, "linux"), (Multiboot((ONE, TWO), LINUX), "multiboot2"), (Multiboot((ONE,), LINUX), "pvh")],
)
def test_as_the_spec_asks(image: Elf | Multiboot, asked: str) -> None:
    assert choose(image, asked) == (asked, "boot.protocol asks for it")


@pytest.mark.parametrize(
    ("image", "asked", "message"),
    [
        (SMALL, None, "is a 32-bit ELF file with neither"),
        (PLAIN, "pvh", "cannot be started by pvh; it can by: linux"),
        (LINUX, "multiboot", "cannot be started by multiboot; it can by: linux, pvh"),
        (Multiboot((TWO,), SMALL), "linux", "cannot be started by linux; it can by: multiboot2"),
        (SMALL, "linux", "cannot be started by linux; it can by: nothing else"),
    ],
)
def test_an_image_that_cannot(image: Elf | Multiboot, asked: str | None, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        choose(image, asked)
