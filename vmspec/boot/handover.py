"""What firmware finds in fw_cfg beside the machine's description: a Linux kernel, and the spec's own files."""

from vmspec import layout
from vmspec.boot import parts
from vmspec.image import BzImage, ImageError, identify, opened
from vmspec.plan.calls import Slot
from vmspec.plan.plan import Placement, PlannedFile
from vmspec.schema.problems import Problem
from vmspec.spec.models import Spec

SIZE_MOST = (1 << 32) - 1  # bytes: fw_cfg has sizes of 32 bits

Found = tuple[tuple[Placement, ...], tuple[PlannedFile, ...]]


def offered(spec: Spec, slots: tuple[Slot, ...], problems: list[Problem]) -> Found:
    """What the spec offers to its firmware, with the addresses that QEMU gives (hw/i386/x86.c, x86_load_linux)."""
    boot = spec.boot
    if spec.vm.time == "virtual":
        for key in ("kernel", "initrd", "cmdline", "files"):
            if getattr(boot, key):
                message = "firmware would get it by fw_cfg, whose transfers virtual time does not record: leave it out"
                problems.append(Problem(f"boot.{key}", message))
        return (), ()
    kernel, files = _kernel(spec, slots, problems)
    own, own_files = _own(spec, problems)
    return (*kernel, *own), (*files, *own_files)


def _kernel(spec: Spec, slots: tuple[Slot, ...], problems: list[Problem]) -> Found:
    boot = spec.boot
    if boot.kernel is None:
        for key in ("initrd", "cmdline"):
            if getattr(boot, key):
                problems.append(
                    Problem(f"boot.{key}", "is for boot.kernel, which firmware would start, and is missing")
                )
        return (), ()
    try:
        with opened(boot.kernel) as source:
            image = identify(source)
            if not isinstance(image, BzImage):
                raise ImageError("is no bzImage of Linux (vmlinuz), which is all that firmware starts")
            size, file = source.size - image.setup_size, PlannedFile("kernel", boot.kernel, source.version)
    except ImageError as error:
        problems.append(Problem("boot.kernel", str(error), str(boot.kernel)))
        return (), ()
    kernel = Placement("kernel", layout.HIGH_MEMORY, size, boot.kernel, image.setup_size)
    setup = Placement("setup", layout.SETUP, image.setup_size, boot.kernel)
    end = layout.HIGH_MEMORY + max(size, image.init_size)
    top = min(image.initrd_addr_max + 1, slots[0].size - layout.FIRMWARE_TABLES)
    parts.fit((kernel,), end, slots, problems)
    initrd, files = parts.initrd(boot.initrd, end, top, problems)
    cmdline = parts.cmdline(boot.cmdline, image.cmdline_size, problems)
    return (setup, cmdline, kernel, *initrd), (file, *files)


def _own(spec: Spec, problems: list[Problem]) -> Found:
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
