"""Linux kernels: where the kernel, its initrd, command line and boot parameters go (boot protocol 2.15)."""

from pathlib import Path
from typing import NamedTuple

from vmspec import layout
from vmspec.boot import parts, realmode
from vmspec.devices.isa import TSC
from vmspec.image import BzImage, Elf, ImageError, Source, bzimage, elf, opened
from vmspec.plan import virtual
from vmspec.plan.calls import Slot
from vmspec.plan.plan import Entry, Patch, Placement, PlannedFile, Start
from vmspec.registers import tsc
from vmspec.schema.problems import Problem
from vmspec.spec.models import Boot, Spec


class Kernel(NamedTuple):
    """A placed kernel: ``end`` is the first address that is free for other things while it starts."""

    protocol: str
    entry: Entry
    placements: tuple[Placement, ...]
    end: int
    notes: tuple[str, ...] = ()
    files: tuple[PlannedFile, ...] = ()


def start(
    spec: Spec, source: Source, image: BzImage | Elf, slots: tuple[Slot, ...], problems: list[Problem]
) -> Start | None:
    """The start of the kernel ``image`` read from ``source``, which is ``spec.boot.kernel``."""
    boot = spec.boot
    assert boot.kernel is not None
    found = len(problems)
    name = "a Linux bzImage" if isinstance(image, BzImage) else "an ELF kernel"
    parts.not_flat(boot, name, problems)
    if boot.modules:
        problems.append(Problem("boot.modules", f"are for PVH and Multiboot; boot.kernel is {name}, with boot.initrd"))
    try:
        kernel = _bzimage(boot, source, image) if isinstance(image, BzImage) else _elf(boot.kernel, image)
    except ImageError as error:
        problems.append(Problem("boot.kernel", str(error), str(boot.kernel)))
        return None
    header = image if isinstance(image, BzImage) else None
    parts.fit(kernel.placements, kernel.end, slots, problems)
    text, seed, notes = virtual.linux(spec)
    patches, changed = _patches(spec, kernel, problems)
    cmdline = parts.cmdline(text, header.cmdline_size if header else layout.CMDLINE_MAX, problems)
    limit = header.initrd_addr_max if header else layout.INITRD_ADDR_MAX
    initrd, files = parts.initrd(boot.initrd, kernel.end, min(limit + 1, slots[0].size), problems)
    if len(problems) > found:
        return None
    parameters = Placement("boot_params", layout.BOOT_PARAMS, layout.BOOT_PARAMS_SIZE)
    if header:
        parameters = Placement("boot_params", layout.BOOT_PARAMS, layout.BOOT_PARAMS_SIZE, boot.kernel, bzimage.HEADER)
    tables = [Placement("gdt", layout.GDT, layout.GDT_SIZE)]
    if kernel.entry.mode == "long":
        tables.append(Placement("page-tables", layout.PAGE_TABLES, layout.PAGE_TABLES_SIZE))
    placements = (*kernel.placements, *initrd, cmdline, parameters, *seed, *tables)
    kind = "bzimage" if header else "vmlinux"
    notes = (*kernel.notes, *notes, *changed)
    files = (*files, *kernel.files)
    bits = 32 if kernel.protocol == "linux32" else 64
    return Start(
        kind, kernel.protocol, kernel.entry, placements, notes, files, cmdline=text, patches=patches, bits=bits
    )


def _patches(spec: Spec, kernel: Kernel, problems: list[Problem]) -> tuple[tuple[Patch, ...], tuple[str, ...]]:
    """The kernel's RDTSC instructions, each replaced by a read of the device that stands for the TSC, and a note."""
    devices = enumerate(spec.devices)
    key, model = next(((f"device[{at}]", each) for at, each in devices if isinstance(each, TSC)), ("", None))
    if model is None or spec.vm.time == "host":
        return (), ()
    path = kernel.placements[0].path
    assert path is not None
    if kernel.protocol != "elf64":
        why = "; ".join(kernel.notes) or "boot.unpack = false"
        message = f"the kernel's RDTSC instructions can be replaced only if vmrun unpacks it ({why})"
        problems.append(Problem(key, message))
        return (), ()
    from vmspec.image import rdtsc  # late: few specs have such a device

    try:
        with opened(path) as source:
            found = rdtsc.sites(path, elf.read(source))
    except ImageError as error:
        problems.append(Problem(key, f"boot.kernel {error}", str(path)))
        return (), ()
    instead = bytes((tsc.IN, model.port))
    note = f"the guest is modified: {len(found)} RDTSC instructions of its kernel read port {model.port:#x} instead"
    return tuple(Patch(address, tsc.RDTSC, instead) for address in found), (note,)


def _bzimage(boot: Boot, source: Source, image: BzImage) -> Kernel:
    """The kernel unpacked if the spec allows it and it is possible, else the image with its own decompressor."""
    assert boot.kernel is not None
    notes: tuple[str, ...] = ()
    if boot.unpack:
        from vmspec.image.unpack import CannotUnpackError, unpacked

        try:
            return _unpacked(unpacked(source, image))
        except CannotUnpackError as error:
            notes = (f"the kernel unpacks itself: {error}",)
    if (reason := realmode.why(image)) is not None:
        raise ImageError(
            f"is started only by its 16-bit setup code, which needs a BIOS: {realmode.called(image)} {reason}. Give "
            "boot.firmware, such as SeaBIOS: vmspec new firmware --kernel FILE writes such a spec"
        )
    # A relocatable kernel runs where it is loaded, but not below pref_address; any other moves to pref_address.
    load = layout.HIGH_MEMORY
    if image.relocatable and image.pref_address:
        load = _up(image.pref_address, image.kernel_alignment)
    elif image.relocatable:
        load = _up(load, image.kernel_alignment)
    runs = load if image.relocatable else max(load, image.pref_address)
    end = max(load + image.kernel_size, runs + image.init_size)
    if end > 1 << 32:
        raise ImageError(f"must be loaded at {load:#x}, beyond 32-bit addresses")
    size = image.kernel_size
    placement = Placement("kernel", load, size, boot.kernel, image.setup_size, end - load - size)
    if image.entry64:
        # 64-bit boot protocol: the entry is 0x200 after the load address, RSI has boot_params.
        entry = Entry("long", load + 0x200, {"rsi": layout.BOOT_PARAMS, "rflags": 2})
        return Kernel("linux64", entry, (placement,), end, notes)
    # 32-bit: a kernel that is not relocatable has its entry in the header.
    code32 = load if image.relocatable else image.code32_start
    entry = Entry("protected", code32, {"rsi": layout.BOOT_PARAMS, "rflags": 2})
    return Kernel("linux32", entry, (placement,), end, notes)


def _unpacked(path: Path) -> Kernel:
    from vmspec.image.unpack import CannotUnpackError

    try:
        with opened(path) as source:
            return _elf(path, elf.read(source))._replace(files=(PlannedFile("unpacked", path, None),))
    except ImageError as error:  # a 32-bit kernel's, or an unknown future format
        raise CannotUnpackError(f"the compressed kernel in it {error}") from error


def _elf(path: Path, image: Elf) -> Kernel:
    first, last = image.segments[0], image.segments[-1]
    if image.bits != 64:
        raise ImageError("is a 32-bit ELF file")
    if first.address < layout.HIGH_MEMORY:
        raise ImageError(f"has a segment for {first.address:#x}: a kernel starts at {layout.HIGH_MEMORY:#x} or above")
    if image.entry >= layout.IDENTITY_END:
        raise ImageError(f"starts at {image.entry:#x}, beyond the first 4 GiB")
    entry = Entry("long", image.entry, {"rsi": layout.BOOT_PARAMS, "rflags": 2})
    return Kernel("elf64", entry, parts.segments(path, image), last.address + last.size)


def _up(address: int, alignment: int) -> int:
    return -(-address // alignment) * alignment
