"""What firmware finds in fw_cfg beside the machine's description: a Linux kernel, and the spec's own files."""

from typing import NamedTuple

from vmspec import layout
from vmspec.boot import parts, realmode
from vmspec.image import BzImage, ImageError, identify, opened
from vmspec.plan.calls import Slot
from vmspec.plan.plan import Placement, PlannedFile
from vmspec.schema.problems import Problem
from vmspec.spec.models import Spec

SIZE_MOST = (1 << 32) - 1  # bytes: fw_cfg has sizes of 32 bits

POINTER_SINCE = 0x0202  # the protocol whose pointer to the command line has 32 bits
OPTION_ROMS = "genroms/"  # SeaBIOS runs each file with such a name (src/optionroms.c)
LINUX_ROM = '[{ name = "genroms/linuxboot_dma.bin", path = "/usr/share/qemu/linuxboot_dma.bin" }]'


class Offer(NamedTuple):
    """What firmware gets: ``parts`` by their names, the ``files`` that they are in, and notes for people."""

    parts: tuple[Placement, ...] = ()
    files: tuple[PlannedFile, ...] = ()
    notes: tuple[str, ...] = ()


def offered(spec: Spec, firmware: str | None, slots: tuple[Slot, ...], problems: list[Problem]) -> Offer:
    """What the spec offers to its ``firmware`` (:func:`vmspec.image.rom.kind`), with the addresses that QEMU gives
    (hw/i386/x86.c, x86_load_linux)."""
    boot = spec.boot
    if spec.vm.time == "virtual":
        for key in ("kernel", "initrd", "cmdline", "files"):
            if getattr(boot, key):
                message = "firmware would get it by fw_cfg, whose transfers virtual time does not record: leave it out"
                problems.append(Problem(f"boot.{key}", message))
        return Offer()
    kernel = _kernel(spec, firmware, slots, problems)
    own, files = _own(spec, problems)
    return Offer((*kernel.parts, *own), (*kernel.files, *files), kernel.notes)


def _kernel(spec: Spec, firmware: str | None, slots: tuple[Slot, ...], problems: list[Problem]) -> Offer:
    boot = spec.boot
    if boot.kernel is None:
        for key in ("initrd", "cmdline"):
            if getattr(boot, key):
                problems.append(
                    Problem(f"boot.{key}", "is for boot.kernel, which firmware would start, and is missing")
                )
        return Offer()
    try:
        with opened(boot.kernel) as source:
            image = identify(source)
            if not isinstance(image, BzImage):
                raise ImageError("is no bzImage of Linux (vmlinuz), which is all that firmware starts")
            notes = _started(spec, firmware, image)
            size, file = source.size - image.setup_size, PlannedFile("kernel", boot.kernel, source.version)
    except ImageError as error:
        problems.append(Problem("boot.kernel", str(error), str(boot.kernel)))
        return Offer()
    start = layout.LOW_KERNEL if image.low else layout.HIGH_MEMORY
    kernel = Placement("kernel", start, size, boot.kernel, image.setup_size)
    if image.low and size > layout.LOW_SETUP - layout.LOW_KERNEL:
        room = layout.LOW_SETUP - layout.LOW_KERNEL
        problems.append(Problem("boot.kernel", f"has {size} bytes for below 1 MiB, where the room is {room}"))
    end = max(layout.HIGH_MEMORY, start + max(size, image.init_size))
    top = min(image.initrd_addr_max + 1, slots[0].size - layout.FIRMWARE_TABLES)
    parts.fit((kernel,), end, slots, problems)
    # A program of another kind than Linux takes what it likes as its initrd: a script, a disk.
    initrd, files = parts.initrd(boot.initrd, end, top, problems, linux=realmode.why(image) is None)
    cmdline = parts.cmdline(boot.cmdline, image.cmdline_size, problems)
    setup = Placement("setup", layout.SETUP, image.setup_size, boot.kernel)
    if image.low or image.version < POINTER_SINCE:
        setup = setup._replace(address=layout.LOW_SETUP)
        cmdline = cmdline._replace(address=layout.LOW_CMDLINE_END - cmdline.size)
    if setup.address + setup.size > cmdline.address:
        free = max(cmdline.address - setup.address, 0)
        message = f"has {setup.size} bytes of setup code, and {free} are free for it below the command line"
        problems.append(Problem("boot.kernel", message, str(boot.kernel)))
    return Offer((setup, cmdline, kernel, *initrd), (file, *files), notes)


def _started(spec: Spec, firmware: str | None, image: BzImage) -> tuple[str, ...]:
    """How firmware starts the image, for people. Raises ImageError if it cannot."""
    reason = realmode.why(image)
    match firmware:
        case "UEFI" if not image.efi:
            without = "which has none" if reason is None else f"and {realmode.called(image)} {reason}"
            raise ImageError(f"is started by UEFI firmware as an EFI program, {without}: give SeaBIOS as boot.firmware")
        case "UEFI":
            return ("the firmware starts boot.kernel as an EFI program",)
        case "SeaBIOS" if not any(file.name.startswith(OPTION_ROMS) for file in spec.boot.files):
            raise ImageError(
                f"is started by SeaBIOS with an option ROM, which the spec must name: boot.files = {LINUX_ROM} (QEMU's "
                "packages have it; Debian's is qemu-system-data)"
            )
    way = "SeaBIOS starts" if firmware == "SeaBIOS" else "the firmware would start"
    if reason is not None:
        reason = f", the only way: {realmode.called(image)} {reason}"
    return (f"{way} boot.kernel by its 16-bit setup code{reason or ''}",)


def _own(spec: Spec, problems: list[Problem]) -> tuple[tuple[Placement, ...], tuple[PlannedFile, ...]]:
    """The spec's own files; firmware puts them where it likes."""
    made: list[Placement] = []
    files: list[PlannedFile] = []
    for index, given in enumerate(spec.boot.files):
        try:
            with opened(given.path) as source:
                if source.size > SIZE_MOST:
                    raise ImageError(f"has {source.size} bytes, and fw_cfg's files at most {SIZE_MOST}")
                made.append(Placement(given.name, 0, source.size, given.path))
                files.append(PlannedFile(f"files[{index}]", given.path, source.version))
        except ImageError as error:
            problems.append(Problem(f"boot.files[{index}].path", str(error), str(given.path)))
    return tuple(made), tuple(files)
