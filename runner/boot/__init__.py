"""Fills guest memory as the plan says: images, boot parameters, tables. No KVM here."""

import errno
import io
import os
import sys

from runner.boot import acpi, bootparams, information, modes, mptable
from runner.boot.images import Images
from runner.memory import GuestMemory
from runner.x86.state import State
from vmspec import layout
from vmspec.image import ImageError
from vmspec.plan.plan import Placement, Plan

__all__ = ["Images", "State", "load"]


def load(plan: Plan, memory: GuestMemory, images: Images) -> State:
    """Put every placement of the plan into fresh (zero) guest memory; ``images`` are its files.

    Returns the state in which the first vCPU starts, and without an interrupt controller every other vCPU too. Raises
    :class:`vmspec.image.ImageError` if a file has changed since the plan was made, OSError if it cannot be read.
    """
    for placement in plan.placements:
        match placement.name:
            case "code" if placement.path is None:
                assert plan.code is not None
                memory.write(placement.address, plan.code)
            case "code" | "kernel" | "initrd" | "module" | "firmware":
                _read(placement, memory, images)
            case "cmdline":
                memory.write(placement.address, plan.cmdline.encode("utf-8", "replace") + b"\0")
            case "boot_params":
                memory.write(placement.address, bootparams.build(plan, placement, images))
            case "rng-seed":
                memory.write(placement.address, bootparams.seed(plan.time.seed))
            case "boot-information":
                memory.write(placement.address, information.build(plan, placement.address))
            case "gdt":
                memory.write(placement.address, modes.gdt(plan.entry.mode))
            case "page-tables":
                memory.write(placement.address, modes.page_tables(placement.address))
            case "bda":
                memory.write(layout.BDA_EBDA_SEGMENT, (layout.EBDA >> 4).to_bytes(2, "little"))
                memory.write(layout.BDA_BASE_MEMORY_KIB, (layout.EBDA >> 10).to_bytes(2, "little"))
            case "mptable":
                memory.write(placement.address, mptable.build(placement.address, plan))
            case "acpi":
                memory.write(placement.address, acpi.build(placement.address, plan))
            case name:
                raise AssertionError(f"no loader for {name}")
    for patch in plan.patches:
        if memory.read(patch.address, len(patch.old)) != patch.old:
            raise ImageError(f"the kernel has other code at {patch.address:#x} than when the plan was made")
        memory.write(patch.address, patch.new)
    return modes.state(plan.entry)


def _read(placement: Placement, memory: GuestMemory, images: Images) -> None:
    """Read a part of a file straight into guest memory. Zeros after the data and holes of the file are there
    already."""
    assert placement.path is not None
    start, end = placement.offset, placement.offset + placement.size
    with (
        io.FileIO(images.descriptor(placement.path), closefd=False) as file,
        memory.view(placement.address, placement.size) as view,
    ):
        if os.fstat(file.fileno()).st_size < end:
            raise ImageError(f"{placement.path} is shorter than it was when the plan was made")
        at = _data(file, start)
        while at < end:
            hole = min(os.lseek(file.fileno(), at, os.SEEK_HOLE), end)
            file.seek(at)
            while at < hole:
                with view[at - start : hole - start] as rest:
                    read = file.readinto(rest)
                if not read:
                    raise ImageError(f"{placement.path} was cut short while it was read")
                at += read
            at = _data(file, at)


def _data(file: io.FileIO, at: int) -> int:
    """Where the file's data continues from ``at``; past the end if only a hole is left."""
    try:
        return os.lseek(file.fileno(), at, os.SEEK_DATA)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return sys.maxsize
