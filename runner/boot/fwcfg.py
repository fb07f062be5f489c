"""What fw_cfg has for firmware: the machine's size, its memory map, ACPI tables, a kernel, the spec's own files."""

import os
import struct
from collections.abc import Callable, Iterator
from functools import partial

from runner.boot import acpi
from runner.boot.images import Images
from runner.devices.fwcfg import Item, of
from vmspec.plan.plan import Placement, Plan
from vmspec.registers import fwcfg as R

# Items of what the plan offers, by its name: address, size, content.
KEYS = {
    "kernel": (R.KERNEL_ADDRESS, R.KERNEL_SIZE, R.KERNEL),
    "initrd": (R.INITRD_ADDRESS, R.INITRD_SIZE, R.INITRD),
    "cmdline": (R.CMDLINE_ADDRESS, R.CMDLINE_SIZE, R.CMDLINE),
    "setup": (R.SETUP_ADDRESS, R.SETUP_SIZE, R.SETUP),
}
# Offsets and values in the setup code of a bzImage (Linux, Documentation/arch/x86/boot.rst)
VERSION, TYPE_OF_LOADER, LOADFLAGS, RAMDISK, HEAP_END, CMD_LINE = 0x206, 0x210, 0x211, 0x218, 0x224, 0x228
OLD_CMD_LINE, OLD_CMD_LINE_MAGIC = 0x20, 0xA33F  # before protocol 2.02: a mark, and where it lies after the setup code
QEMU_LOADER = 0xB0
CAN_USE_HEAP = 0x80
SETUP_BASE = 0x200  # where the heap's addresses count from


def items(plan: Plan, images: Images) -> dict[int, Item]:
    """The items by their keys. ``images`` are the plan's files, which are read as firmware asks for them."""
    found = {
        R.SIGNATURE: of(R.SIGNED),
        R.ID: _number(R.BY_PORT | R.BY_DMA, 4),
        R.RAM_SIZE: _number(plan.vm.memory, 8),
        R.NO_GRAPHIC: _number(1, 2),
        R.CPUS: _number(plan.vm.vcpus, 2),
        R.CPUS_MAX: _number(plan.vm.vcpus, 2),
    }
    for part in plan.offered:
        if part.name in KEYS:
            address, size, content = KEYS[part.name]
            found |= {
                address: _number(part.address, 4),
                size: _number(part.size, 4),
                content: _part(part, plan, images),
            }
    entries = []
    for key, (name, item) in enumerate(sorted(_files(plan, images), key=lambda file: file[0]), R.FIRST_FILE):
        found[key] = item
        entries.append(struct.pack(R.FILE, item.size, key, name.encode("ascii")))
    return found | {R.FILES: of(struct.pack(R.COUNT, len(entries)) + b"".join(entries))}


def _number(value: int, size: int) -> Item:
    return of(value.to_bytes(size, "little"))


def _part(part: Placement, plan: Plan, images: Images) -> Item:
    match part.name:
        case "cmdline":
            return of(plan.cmdline.encode("utf-8", "replace") + b"\0")
        case "setup":
            return of(_setup(part, plan, images))
        case _:
            return Item(part.size, _reader(part, images))


def _reader(part: Placement, images: Images) -> Callable[[int, int], bytes]:
    assert part.path is not None
    return partial(_read, images.descriptor(part.path), part.offset)


def _read(fd: int, start: int, at: int, size: int) -> bytes:
    """So many bytes, or up to the file's end. File systems of other machines give a part at a time."""
    found = bytearray()
    while len(found) < size and (part := os.pread(fd, size - len(found), start + at + len(found))):
        found += part
    return bytes(found)


def _setup(part: Placement, plan: Plan, images: Images) -> bytes:
    """The setup code of a bzImage with the loader's fields filled in: what is where, and the end of its heap."""
    where = {each.name: each for each in plan.offered}
    cmdline = where["cmdline"]
    code = bytearray(_reader(part, images)(0, part.size).ljust(part.size, b"\0"))
    version, distance = int.from_bytes(code[VERSION : VERSION + 2], "little"), cmdline.address - part.address
    code[TYPE_OF_LOADER] = QEMU_LOADER
    if version >= 0x0201:
        code[LOADFLAGS] |= CAN_USE_HEAP
        struct.pack_into("<H", code, HEAP_END, distance - SETUP_BASE)
    if version >= 0x0202:
        struct.pack_into("<I", code, CMD_LINE, cmdline.address)
    else:
        struct.pack_into("<HH", code, OLD_CMD_LINE, OLD_CMD_LINE_MAGIC, distance)
    if (initrd := where.get("initrd")) is not None:
        struct.pack_into("<II", code, RAMDISK, initrd.address, initrd.size)
    return bytes(code)


def _files(plan: Plan, images: Images) -> Iterator[tuple[str, Item]]:
    """The files by their names."""
    yield R.E820, of(b"".join(struct.pack(R.E820_ENTRY, *entry) for entry in plan.e820))
    if (serial := plan.device("serial")) is not None and (port := serial.regions[0].start) is not None:
        yield R.SERIAL_CONSOLE, _number(port, 8)
    if plan.device("acpi") is not None:
        made = acpi.tables(plan)
        root = acpi.rsdp(made.rsdt, made.xsdt)
        yield R.TABLES, of(made.data)
        yield R.RSDP, of(root)
        yield R.SCRIPT, of(b"".join(step.ljust(R.STEP, b"\0") for step in _script(made, len(root))))
    for part in plan.offered:
        if part.name not in KEYS:
            yield part.name, Item(part.size, _reader(part, images))


def _script(made: acpi.Tables, root: int) -> Iterator[bytes]:
    """How firmware puts the ACPI tables into memory."""
    tables, rsdp = R.TABLES.encode(), R.RSDP.encode()
    yield struct.pack(R.PLACE, R.PLACING, rsdp, 16, R.BELOW_1_MIB)
    yield struct.pack(R.PLACE, R.PLACING, tables, acpi.ALIGNMENT, R.ANYWHERE)
    for offset, size in made.pointers:
        yield struct.pack(R.POINT, R.POINTING, tables, tables, offset, size)
    for start, size in made.summed:
        yield struct.pack(R.SUM, R.SUMMING, tables, start + acpi.CHECKSUM, start, size)
    for offset, size in acpi.RSDP_ADDRESSES:
        yield struct.pack(R.POINT, R.POINTING, rsdp, tables, offset, size)
    for offset, size in ((acpi.RSDP_CHECKSUM, acpi.RSDP_SUMMED), (acpi.RSDP_CHECKSUM_ALL, root)):
        yield struct.pack(R.SUM, R.SUMMING, rsdp, offset, 0, size)
