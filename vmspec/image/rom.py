"""Which firmware a ROM image is, by marks that its kind has."""

from vmspec.image.source import READ_MAX, Source

# SeaBIOS names itself (src/fw/biostables.c, src/bootsplash.c). A UEFI firmware volume has its signature 40 bytes after
# its start, which is 8-byte aligned (UEFI PI 1.7, volume 3, 3.2.1).
MARKS = {"SeaBIOS": b"SeaBIOS", "UEFI": b"_FVH"}
LONGEST = max(map(len, MARKS.values()))


def kind(source: Source) -> str | None:
    """The firmware in a ROM image, a key of :data:`MARKS`; None: another. Raises ImageError."""
    step = READ_MAX - LONGEST  # pieces overlap, since a mark may lie across their border
    for at in range(0, source.size, step):
        data = source.read(at, min(READ_MAX, source.size - at), "the ROM")
        for name, mark in MARKS.items():
            if mark in data:
                return name
    return None
