"""Firmware: a ROM image that ends at 4 GiB, where the first vCPU begins as after reset."""

from pathlib import Path

from vmspec import layout
from vmspec.boot import handover, parts
from vmspec.image import ImageError, Source, foreign, opened, rom
from vmspec.plan.calls import Slot
from vmspec.plan.plan import Entry, Placement, PlannedDevice, PlannedFile, Start
from vmspec.schema.problems import Problem
from vmspec.schema.units import format_size
from vmspec.spec.models import Boot, Spec

# Intel SDM volume 3, 10.1.4: the first instruction lies 16 bytes below 4 GiB, at CS:IP f000:fff0.
RESET_IP = 0xFFF0
RESET_VECTOR_SIZE = 16


def start(spec: Spec, path: Path, slots: tuple[Slot, ...], problems: list[Problem]) -> Start | None:
    """The start of the firmware in the file ``path``, which is ``spec.boot.firmware``; ``slots`` are RAM."""
    boot, found, kind = spec.boot, len(problems), None
    _only_firmware(boot, problems)
    try:
        with opened(path) as source:
            _check(source)
            kind = rom.kind(source)
            size, file = source.size, PlannedFile("firmware", path, source.version)
    except ImageError as error:
        problems.append(Problem("boot.firmware", str(error), str(path)))
    offer = handover.offered(spec, kind, slots, problems)
    if len(problems) > found:
        return None
    shown = Slot(len(slots), layout.FIRMWARE_END - size, size, 0, path, read_only=True)
    # On a PC the chipset shows the ROM here, and then RAM, into which the firmware copies itself. It is RAM from the
    # start, as on QEMU's machines without a chipset.
    low = min(size, layout.FIRMWARE_LOW_ROOM)
    copy = Placement("firmware", layout.HIGH_MEMORY - low, low, path, size - low)
    entry = Entry("reset", RESET_IP, {})
    return Start(
        "firmware",
        "firmware",
        entry,
        (copy,),
        notes=offer.notes,
        files=(file, *offer.files),
        mapped=(shown,),
        offered=offer.parts,
        cmdline=boot.cmdline,
        uefi=kind == "UEFI",
    )


def unfound(devices: tuple[PlannedDevice, ...]) -> tuple[str, ...]:
    """Which devices UEFI firmware does not find: OVMF for PCs knows virtio by PCI only."""
    names = [device.name for device in devices if device.transport == "mmio"]
    return (f'UEFI firmware finds nothing by virtio-mmio: give {", ".join(names)} transport = "pci"',) if names else ()


def _only_firmware(boot: Boot, problems: list[Problem]) -> None:
    """Reject keys that say what only vmrun's own loaders do."""
    parts.reject_flat(boot, "this one has boot.firmware", problems)
    for key in ("code", "protocol", "modules"):
        if getattr(boot, key):
            problems.append(Problem(f"boot.{key}", "cannot be combined with boot.firmware, which starts the machine"))


def _check(source: Source) -> None:
    """Raises ImageError if the file is no ROM image."""
    if (what := foreign.firmware(source)) is not None:
        raise ImageError(f"is {what}")
    if source.size > layout.FIRMWARE_ROOM:
        room = format_size(layout.FIRMWARE_ROOM)
        raise ImageError(f"has {source.size} bytes; the room for firmware below 4 GiB is {room}")
    if source.size % layout.PAGE:
        raise ImageError(f"has {source.size} bytes; a ROM image has whole 4 KiB pages")
    vector = source.read(source.size - RESET_VECTOR_SIZE, RESET_VECTOR_SIZE, "the reset vector")
    if len(set(vector)) == 1:
        raise ImageError(
            f"has no code where the processor begins: its last 16 bytes are all {vector[0]:#04x}, as in a file with "
            "variables of UEFI firmware; give the file with the code, and this one as path of a device of kind flash"
        )
