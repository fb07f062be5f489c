"""The parts that kernels have in common: segments, an initrd, a command line."""

from collections.abc import Sequence
from pathlib import Path

from vmspec import layout
from vmspec.image import Elf, ImageError, foreign, opened
from vmspec.plan import memory_map
from vmspec.plan.calls import Slot
from vmspec.plan.plan import Placement, PlannedFile
from vmspec.schema.problems import Problem
from vmspec.spec.models import Boot


def segments(path: Path, image: Elf) -> tuple[Placement, ...]:
    """Where the segments of an ELF file go."""
    return tuple(
        Placement("kernel", part.address, part.file_size, path, part.offset, part.size - part.file_size)
        for part in image.segments
    )


FLAT_KEYS = ("mode", "load", "entry", "registers")


def not_flat(boot: Boot, kernel: str, problems: list[Problem]) -> None:
    """Reject keys for flat guests, as boot.kernel is such a ``kernel``."""
    reject_flat(boot, f"boot.kernel is {kernel}", problems)


def reject_flat(boot: Boot, instead: str, problems: list[Problem]) -> None:
    """Reject keys for flat guests; ``instead`` says what the spec has."""
    for key in FLAT_KEYS:
        if getattr(boot, key) not in (None, {}):
            problems.append(Problem(f"boot.{key}", f"is for flat guests; {instead}"))


def fit(kernel: Sequence[Placement], end: int, slots: tuple[Slot, ...], problems: list[Problem]) -> None:
    """Check that a kernel's parts lie in RAM; while it starts it uses memory up to ``end``."""
    if all(memory_map.is_ram(slots, part.address, part.size + part.zero) for part in kernel):
        return
    if end > layout.HOLE_START:
        message = f"reaches up to {end:#x}; RAM for a kernel ends at {layout.HOLE_START:#x}"
        problems.append(Problem("boot.kernel", message))
        return
    need = f"the kernel needs {_mib(end)} MiB: while it starts it uses memory up to {end:#x}"
    problems.append(Problem("vm.memory", need, f"{_mib(slots[0].size)} MiB"))


FROM_FILES = {"kernel": "boot.kernel", "initrd": "boot.initrd", "module": "boot.modules"}


def apart(placements: Sequence[Placement], problems: list[Problem]) -> None:
    """Check that no part of the spec's files lies where something else goes."""
    for part in placements:
        for other in placements:
            if part.name not in FROM_FILES or other.name in FROM_FILES:
                continue
            if part.address < other.address + other.size and other.address < part.address + part.size + part.zero:
                where = f"{part.address:#x}-{part.address + part.size + part.zero - 1:#x}"
                there = f"{other.address:#x}-{other.address + other.size - 1:#x}"
                message = f"has a part for {where}, where vmrun puts the {other.name} ({there})"
                problems.append(Problem(FROM_FILES[part.name], message))


def initrd(
    path: Path | None, bottom: int, top: int, problems: list[Problem], linux: bool = True
) -> tuple[tuple[Placement, ...], tuple[PlannedFile, ...]]:
    """The initrd as high as possible: clear of the kernel and of the memory that the kernel allocates early. ``linux``:
    it must be what Linux can use as one."""
    if path is None:
        return (), ()
    try:
        with opened(path) as source:
            if linux and (what := foreign.initrd(source)) is not None:
                raise ImageError(f"is {what}")
            size, file = source.size, PlannedFile("initrd", path, source.version)
    except ImageError as error:
        problems.append(Problem("boot.initrd", str(error), str(path)))
        return (), ()
    address = (top - size) // layout.PAGE * layout.PAGE
    if address < bottom:
        message = (
            f"does not fit: it has {size} bytes, and {max(top - bottom, 0)} are free between the kernel's end "
            f"{bottom:#x} and {top:#x}"
        )
        problems.append(Problem("boot.initrd", message, str(path)))
    return (Placement("initrd", address, size, path),), (file,)


def cmdline(cmdline: str, limit: int, problems: list[Problem]) -> Placement:
    """The place of the command line, of which the kernel takes ``limit`` bytes."""
    # Lone surrogates cannot come from a TOML file; a Spec built by hand gets question marks.
    data = cmdline.encode("utf-8", "replace")
    limit = min(limit, layout.CMDLINE_ROOM - 1)
    if b"\0" in data:
        problems.append(Problem("boot.cmdline", "has a NUL, at which the kernel would end it"))
    if len(data) > limit:
        message = f"has {len(data)} bytes; this kernel takes {limit}"
        problems.append(Problem("boot.cmdline", message, cmdline[:40] + "..."))
    return Placement("cmdline", layout.CMDLINE, len(data) + 1)


def _mib(size: int) -> int:
    return -(-size // layout.MIB)
