"""Kernels, each by its boot protocol."""

from pathlib import Path

from vmspec.boot import informed, linux
from vmspec.boot.protocol import choose
from vmspec.image import BzImage, Elf, ImageError, Multiboot, Source, elf, opened
from vmspec.plan.calls import Slot
from vmspec.plan.plan import PlannedFile, Start
from vmspec.schema.problems import Problem
from vmspec.spec.models import Spec


def start(
    spec: Spec, source: Source, image: BzImage | Elf | Multiboot, slots: tuple[Slot, ...], problems: list[Problem]
) -> Start | None:
    """The start of the kernel ``image`` read from ``source``, which is ``spec.boot.kernel``; None: see problems."""
    path = spec.boot.kernel
    assert path is not None
    try:
        protocol = choose(image, spec.boot.protocol)
        if protocol.name == "linux":
            program = image.elf if isinstance(image, Multiboot) else image
            assert program is not None
            return linux.start(spec, source, program, slots, problems)
        if not isinstance(image, BzImage):
            return informed.start(spec, path, source.size, image, protocol, slots, problems)
        inner = _unpacked(source, image)
        with opened(inner) as kernel:
            found = informed.start(spec, inner, kernel.size, elf.read(kernel), protocol, slots, problems)
        return found and found._replace(image="bzimage", files=(*found.files, PlannedFile("unpacked", inner, None)))
    except ImageError as error:
        problems.append(Problem("boot.kernel", str(error), str(path)))
    return None


def _unpacked(source: Source, image: BzImage) -> Path:
    """The file of the kernel in a bzImage. Raises ImageError."""
    from vmspec.image.unpack import CannotUnpackError, unpacked

    try:
        return unpacked(source, image)
    except CannotUnpackError as error:
        raise ImageError(f"cannot be unpacked, and only the kernel in it has a PVH entry: {error}") from error
