"""Kernels that are entered in protected mode with a structure of information: PVH, Multiboot 1 and 2.

Xen's docs/misc/pvh.pandoc; Multiboot Specification 0.6.96 and 2.0, chapter 3.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from vmspec import layout
from vmspec.boot import information, parts
from vmspec.boot.protocol import MULTIBOOT, Protocol
from vmspec.image import Elf, ImageError, Multiboot, foreign, opened
from vmspec.image.multiboot import Addresses, Header
from vmspec.plan import memory_map
from vmspec.plan.calls import Slot
from vmspec.plan.plan import Entry, Placement, PlannedFile, Start
from vmspec.registers.bootinfo import MULTIBOOT1, MULTIBOOT2
from vmspec.schema.problems import Problem
from vmspec.spec.models import Spec

NAMES = {"pvh": "a PVH kernel", "multiboot": "a Multiboot kernel", "multiboot2": "a Multiboot 2 kernel"}


class Kernel(NamedTuple):
    """A placed kernel: its entry, and the first address after it."""

    entry: int
    placements: tuple[Placement, ...]
    end: int
    notes: tuple[str, ...] = ()


def start(
    spec: Spec, path: Path, size: int, image: Elf | Multiboot, protocol: Protocol, slots: tuple[Slot, ...],
    problems: list[Problem],
) -> Start | None:  # fmt: skip
    """The start of the kernel ``image`` of the file ``path``, which has ``size`` bytes."""
    boot, found = spec.boot, len(problems)
    parts.not_flat(boot, NAMES[protocol.name], problems)
    try:
        kernel = _pvh(path, image) if protocol.name == "pvh" else _multiboot(path, size, image, protocol.name)
    except ImageError as error:
        problems.append(Problem("boot.kernel", str(error), str(boot.kernel)))
        return None
    parts.fit(kernel.placements, kernel.end, slots, problems)
    cmdline = parts.cmdline(boot.cmdline, layout.CMDLINE_ROOM, problems)
    given = [("boot.initrd", boot.initrd, "")] if boot.initrd is not None else []
    given += [(f"boot.modules[{n}].path", module.path, module.cmdline) for n, module in enumerate(boot.modules)]
    # Small kernels map little memory at first: modules follow the kernel, as with GRUB. Linux allocates memory there.
    high = min(layout.INITRD_ADDR_MAX + 1, slots[0].size) if protocol.name == "pvh" else None
    modules, files = _modules([(key, file) for key, file, _ in given], kernel.end, high, slots, problems)
    lines = tuple(line for _, _, line in given)
    told = information.size(
        protocol.name, boot.cmdline.encode("utf-8", "replace"), [line.encode("utf-8", "replace") for line in lines],
        len(memory_map.e820(slots, pci=True)), acpi=True,
    )  # fmt: skip
    if told > layout.BOOT_INFORMATION_ROOM:
        problems.append(Problem("boot.modules", f"their command lines are too long: {told} bytes with what is around"))
    tables = (
        Placement("gdt", layout.GDT, layout.GDT_SIZE),
        Placement("boot-information", layout.BOOT_INFORMATION, told),
        cmdline,
    )
    if len(problems) > found:
        return None
    magic = {"pvh": 0, "multiboot": MULTIBOOT1, "multiboot2": MULTIBOOT2}[protocol.name]
    entry = Entry("protected", kernel.entry, {"rax": magic, "rbx": layout.BOOT_INFORMATION, "rflags": 2})
    notes = (*((f"started by {protocol.name}: {protocol.why}",) if protocol.why else ()), *kernel.notes)
    placements = (*kernel.placements, *modules, *tables)
    elf = image.elf if isinstance(image, Multiboot) else image
    return Start("elf", protocol.name, entry, placements, notes, files, lines, bits=elf.bits if elf else None)


def _pvh(path: Path, image: Elf | Multiboot) -> Kernel:
    elf = image.elf if isinstance(image, Multiboot) else image
    if elf is None or elf.pvh is None:
        raise ImageError("has no PVH entry: no note 18 of the name Xen")
    if not any(part.address <= elf.pvh < part.address + part.size for part in elf.segments):
        raise ImageError(f"has its PVH entry at {elf.pvh:#x}, which is in no loaded segment")
    return _elf(path, elf, elf.pvh)


def _multiboot(path: Path, size: int, image: Elf | Multiboot, protocol: str) -> Kernel:
    assert isinstance(image, Multiboot)
    header = next(each for each in image.headers if MULTIBOOT[each.version] == protocol)
    if header.unmet:
        raise ImageError(f"needs of its loader {', '.join(header.unmet)}, which vmrun has not")
    notes = ("it asks for a video mode, and there is no display",) if header.video else ()
    if header.addresses is not None:
        return _addressed(path, size, header, header.addresses)._replace(notes=notes)
    if image.elf is None:
        raise ImageError(f"is no ELF file, and its {header.name} header does not say where it goes")
    entry = image.elf.entry if header.entry is None else header.entry
    return _elf(path, image.elf, entry)._replace(notes=notes)


def _elf(path: Path, image: Elf, entry: int) -> Kernel:
    last = image.segments[-1]
    if entry >= 1 << 32:
        raise ImageError(f"starts at {entry:#x}, beyond 32-bit addresses")
    return Kernel(entry, parts.segments(path, image), last.address + last.size)


def _addressed(path: Path, size: int, header: Header, where: Addresses) -> Kernel:
    """The kernel by the addresses in its header."""
    length = (where.load_end or where.load + size - where.offset) - where.load
    if where.offset + length > size:
        raise ImageError(f"truncated: what goes to {where.load:#x} ends at byte {where.offset + length} of {size}")
    end = max(where.bss_end, where.load + length)
    if header.entry is None:
        raise ImageError(f"has addresses in its {header.name} header and no entry")
    part = Placement("kernel", where.load, length, path, where.offset, end - where.load - length)
    return Kernel(header.entry, (part,), end)


def _modules(
    given: Sequence[tuple[str, Path]], bottom: int, high: int | None, slots: tuple[Slot, ...], problems: list[Problem]
) -> tuple[tuple[Placement, ...], tuple[PlannedFile, ...]]:
    """Modules one after the other, each on whole pages: from ``bottom`` on, or, with ``high``, up to there."""
    files = []
    for key, path in given:
        try:
            with opened(path) as source:
                if key == "boot.initrd" and high and (what := foreign.initrd(source)) is not None:
                    raise ImageError(f"is {what}")
                name = key.removesuffix(".path").removeprefix("boot.")
                files.append((PlannedFile(name, path, source.version), source.size))
        except ImageError as error:
            problems.append(Problem(key, str(error), str(path)))
    pages = sum(_up(size) for _, size in files)
    at = _up(bottom) if high is None else (high - pages) // layout.PAGE * layout.PAGE
    placed = []
    for file, size in files:
        placed.append(Placement("module", at, size, file.path))
        at += _up(size)
    if placed and (placed[0].address < bottom or not memory_map.is_ram(slots, placed[0].address, pages)):
        free = max((high or slots[0].size) - bottom, 0)
        message = f"do not fit: they take {pages} bytes, and {free} are free after the kernel's end {bottom:#x}"
        problems.append(Problem(given[0][0] if len(given) == 1 else "boot.modules", message))
    return tuple(placed), tuple(file for file, _ in files)


def _up(size: int) -> int:
    return -(-size // layout.PAGE) * layout.PAGE
