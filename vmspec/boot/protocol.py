"""Which boot protocol starts an image: as the image says, or as the spec asks."""

from typing import NamedTuple

from vmspec.image import BzImage, Elf, ImageError, Multiboot

MULTIBOOT = {1: "multiboot", 2: "multiboot2"}


class Protocol(NamedTuple):
    """A protocol, and why it is this one, for people; "" where there is only one."""

    name: str
    why: str = ""


def choose(image: BzImage | Elf | Multiboot, asked: str | None) -> Protocol:
    """The protocol for an image; ``asked`` is boot.protocol. Raises ImageError if the image cannot be started so."""
    possible = dict(_possible(image))
    if asked is None and not possible:
        raise ImageError("is a 32-bit ELF file with neither a Multiboot header nor Xen's note: give a 64-bit kernel")
    if asked is None:
        return Protocol(*next(iter(possible.items())))
    # Whether a bzImage has a note is seen once it is unpacked.
    if asked in possible or (asked == "pvh" and isinstance(image, BzImage)):
        return Protocol(asked, "boot.protocol asks for it")
    there = ", ".join(possible) or "nothing else"
    raise ImageError(f"cannot be started by {asked}; it can by: {there}")


def _possible(image: BzImage | Elf | Multiboot) -> list[tuple[str, str]]:
    """The protocols by which an image can be started, and why the first is the choice."""
    match image:
        case BzImage():
            return [("linux", "")]
        case Elf():
            return _elf(image)
        case Multiboot(headers=headers, elf=elf):
            found = [(MULTIBOOT[header.version], f"it has a {header.name} header") for header in headers]
            others = _elf(elf) if elf is not None else []
            # Multiboot enters 32-bit code. A 64-bit file whose header has an entry of its own has another one.
            own = elf is not None and elf.bits == 64 and headers[0].entry is not None
            return [*others, *found] if own else [*found, *others]


def _elf(image: Elf) -> list[tuple[str, str]]:
    pvh = [("pvh", "it has Xen's note of a 32-bit entry")] if image.pvh is not None else []
    if image.bits == 32:
        return pvh
    linux = [("linux", "")]
    if pvh and image.guest_os not in (None, "linux"):
        return [("pvh", f"its notes call it {image.guest_os}, not linux"), *linux]
    return [*linux, *pvh]
