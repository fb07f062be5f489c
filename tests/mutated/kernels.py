"""Mutated files for each way to boot: planned, and if that succeeds loaded into a machine's memory."""

import random
import shutil
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

from runner.boot import Images, fwcfg, load
from runner.memory import GuestMemory
from tests.mutated import bytesmutation
from tests.mutated.watch import statuses
from tests.vmspec.image import images
from tests.vmspec.image.multiboots import multiboot1, multiboot2
from tests.vmspec.image.test_foreign import PACKERS
from vmspec import layout
from vmspec.devices.isa import ACPI, Serial
from vmspec.devices.models import Device
from vmspec.plan.memory_map import is_ram
from vmspec.plan.plan import Placement, Plan
from vmspec.planner import plan
from vmspec.registers import fwcfg as R
from vmspec.schema.problems import SpecError
from vmspec.spec.models import VM, Boot, FirmwareFile, Module, Spec

MIB = 1 << 20
NUMBERS = (0, 1, 0x400, 0x500, 0x1000, 0x7000, 0x20000, 0x9FC00, 0xE0000, MIB, MIB + 0x40, 3 * MIB, 16 * MIB - 1,
           1 << 31, layout.HOLE_START, 0xFFFFFFF0, 0xFFFFFFFF)  # fmt: skip
CMDLINES = ("", "quiet", "x" * 254, "x" * 2047, "x" * 2048, "x" * 45_000, "x" * 70_000)
CACHED = 50  # inputs until the cache is emptied: each new entry costs a look at all others
BY_COMMAND = 1 / 16  # of the inputs are given to the command, which also says where a problem is
SEABIOS = b"SeaBIOS (version 1)".ljust(4096, b"\0") + bytes(4080) + b"\xea\x5b\xe0\x00\xf0".ljust(16, b"\0")
UEFI = b"_FVH" + SEABIOS[4:]
ROM = bytes(4096) + SEABIOS[4096:]
CPIO = b"070701" + bytes(4000)
LKRN = {"code32_start": 0, "relocatable": 0, "xloadflags": 0, "payload_length": 0}


def number(rng: random.Random) -> int:
    """A 32-bit number, often an address that means something."""
    return (rng.choice(NUMBERS) + rng.choice((0, 0, 0, 1, -1, 0x10, 0x1000)) if rng.random() < 0.8 else
            rng.getrandbits(32)) & 0xFFFFFFFF  # fmt: skip


def aligned(data: bytes, step: int) -> bytes:
    """The data with zeros up to a multiple of so many bytes."""
    return data + bytes(-len(data) % step)


def segments(rng: random.Random, virtual: int) -> Iterator[tuple[int, int, bytes, int]]:
    """Segments of an ELF file: most lie where they can."""
    at = MIB
    for _ in range(rng.choice((1, 1, 2, 3))):
        size = rng.choice((1, 0x40, 0x1000))
        place = at if rng.random() < 0.9 else number(rng)
        yield place, (virtual + place) & 0xFFFFFFFF, b"\xf4" * size, size + rng.choice((0, 0x2000))
        at += 0x4000


def elf32(rng: random.Random) -> bytes:
    """A 32-bit kernel."""
    parts = list(segments(rng, 0xC0000000))
    return images.elf32(*parts, entry=rng.choice((parts[0][0], parts[-1][1], number(rng))))


def elf64(rng: random.Random) -> bytes:
    """A 64-bit kernel."""
    parts = list(segments(rng, 0))
    return images.elf(*parts, entry=rng.choice((parts[0][0], parts[-1][1], number(rng))))


def pvh(rng: random.Random) -> bytes:
    """A kernel with Xen's note of an entry, alone or in a bzImage."""
    make, start = rng.choice(((images.elf32, MIB), (images.elf, 16 * MIB)))
    entry = start if rng.random() < 0.9 else number(rng)
    notes = [images.xen(18, struct.pack("<I", entry)), images.xen(6, rng.choice((b"linux\0", b"FreeBSD\0")))]
    notes.append(images.xen(rng.randrange(30), rng.randbytes(rng.choice((0, 1, 4, 100)))))
    rng.shuffle(notes)
    kernel = images.noted(make(), *notes[: rng.choice((1, 2, 3, 3, 3))])
    return images.bzimage(images.gzipped(kernel)) if rng.random() < 0.2 else kernel


def multiboot(rng: random.Random) -> bytes:
    """An ELF kernel with a header of version 1."""
    flags = rng.choice((0, 1, 3, 7, 3, 3, 3, 3, 7, 1 << 3, 1 << 15, rng.getrandbits(32)))
    header = multiboot1(flags & ~(1 << 16) if rng.random() < 0.8 else flags)
    kernel = rng.choice((elf32, elf32, elf64))(rng)
    return aligned(kernel, 4) + bytes(4 * rng.choice((0, 0, 1, 100, 2000, 2040))) + header


def tags(rng: random.Random) -> Iterator[tuple[int, int, bytes]]:
    """Tags of a header of version 2."""
    for _ in range(rng.choice((0, 0, 1, 2, 4))):
        kind = rng.choice((1, 3, 4, 5, 6, 7, 8, 9, 10, rng.getrandbits(16)))
        values = (1, 3, 4, 6, 6, 6) if kind == 1 and rng.random() < 0.8 else (MIB, 8, number(rng))
        body = struct.pack("<5I", *(rng.choice(values) for _ in range(5)))
        yield kind, int(rng.random() < 0.8), body[: rng.choice((4, 8, 16, 20))]


def multiboot_2(rng: random.Random) -> bytes:
    """An ELF kernel with a header of version 2."""
    architecture = 0 if rng.random() < 0.9 else rng.getrandbits(32)
    header = multiboot2(*tags(rng), architecture=architecture)
    kernel = rng.choice((elf32, elf32, elf64))(rng)
    return aligned(kernel, 8) + bytes(8 * rng.choice((0, 0, 1, 100, 4000, 4080))) + header


def addressed(rng: random.Random) -> bytes:
    """A kernel that is no ELF file: the addresses in its header say where it goes."""
    at = rng.choice((0, 0x10, 0x100))
    load = MIB if rng.random() < 0.6 else number(rng)
    length = rng.choice((0x200, 0x1000, 0x2000))
    end = rng.choice((0, load + length)) if rng.random() < 0.9 else number(rng)
    bss = rng.choice((0, load + length + 0x4000)) if rng.random() < 0.9 else number(rng)
    where = (load + at - (0 if rng.random() < 0.9 else rng.choice((8, -8, at)))) & 0xFFFFFFFF
    addresses = where, load, end & 0xFFFFFFFF, bss & 0xFFFFFFFF
    entry = (load + 0x40) & 0xFFFFFFFF if rng.random() < 0.8 else number(rng)
    if rng.random() < 0.5:
        header = multiboot1(1 << 16 | rng.choice((0, 3, 7)), (*addresses, entry))
    else:
        kinds = [(2, 0, struct.pack("<4I", *addresses)), (3, 0, struct.pack("<I", entry)), *tags(rng)]
        header = multiboot2(*kinds[rng.choice((0, 0, 0, 1)) :])
    return bytes(at) + header + b"\xf4" * length


def bzimage(rng: random.Random) -> bytes:
    """A Linux kernel, or a program that looks like one: iPXE, MEMDISK, a zImage."""
    versions = (0x0200, 0x0201, 0x0202, 0x0204, 0x0206, 0x020A, 0x020F)
    fields: dict[str, int] = {} if rng.random() < 0.3 else dict(LKRN)
    if rng.random() < 0.5:
        fields["loadflags"] = 0
    fields["version"] = rng.choice(versions)
    for name, values in {
        "setup_sects": (0, 1, 4, 4, 4), "initrd_addr_max": (0, 0x37FFFFFF, 0xFFFFFFFF),
        "cmdline_size": (0, 255, 2047, 0xFFFF, 0xFFFFFFFF), "kernel_version": (0, 0x20, 0xFFFF),
        "pref_address": (0, 0x1000, MIB, 1 << 32), "init_size": (0, 0x800000, 0xFFFFFFFF),
        "kernel_alignment": (0, 1, 0x1000, 0x200000, 1 << 31), "code32_start": NUMBERS,
    }.items():  # fmt: skip
        if rng.random() < 0.3:
            fields[name] = rng.choice(values)
    made = bytearray(images.bzimage(bytes(rng.choice((600, 600, 5000, 600_000))), **fields))
    if rng.random() < 0.1:  # setup code of any length
        sectors = rng.randrange(256)
        made = bytearray(made[: images.SETUP_SIZE].ljust((sectors + 1) * 512, b"\0") + made[images.SETUP_SIZE :])
        made[0x1F1] = sectors
    if rng.random() < 0.2:
        made[:2] = b"MZ"
    if rng.random() < 0.2:
        made[0x220:0x228] = b"MEMDISK "
    return bytes(made)


def packed(rng: random.Random) -> bytes:
    """A Linux kernel that can be unpacked."""
    return images.bzimage(images.gzipped(elf64(rng)))


def inner(rng: random.Random) -> bytes:
    """A kernel that may be within another file."""
    kernel = rng.choice((elf64, elf64, multiboot, multiboot_2, pvh, pvh, bzimage, packed, packed))(rng)
    return bytesmutation.mutated(rng, kernel) if rng.random() < 0.2 else kernel


def compressed(rng: random.Random) -> bytes:
    """A compressed kernel."""
    packer = rng.choice([*PACKERS.values()])
    data: bytes = packer(inner(rng) if rng.random() < 0.95 else bytes(1 << 22))
    return data + packer(CPIO) if rng.random() < 0.05 else data


def program(rng: random.Random) -> bytes:
    """A unified kernel image, an EFI application, or a compressed EFI kernel of another architecture."""
    if rng.random() < 0.1:
        return b"MZ\0\0zimg" + struct.pack("<II", 0x100, 600) + bytes(8) + b"gzip\0" + images.gzipped(inner(rng))
    sections = {".text": b"\xf4", ".linux": inner(rng), ".initrd": CPIO, ".cmdline": b"quiet\n\0"}
    if rng.random() < 0.2:
        sections[".initrd"] = rng.choice((b"", b"#!/bin/sh\n", inner(rng)))
    if rng.random() < 0.2:
        sections[".cmdline"] = rng.choice((b"", b"x" * 70_000, b"a\0b", rng.randbytes(40)))
    for name in rng.sample(sorted(sections), rng.choice((0, 0, 0, 0, 1, 2, 4))):
        del sections[name]
    machine = 0x8664 if rng.random() < 0.9 else rng.choice((0x14C, 0xAA64, rng.getrandbits(16)))
    return images.program(machine, rng.choice((10, 10, 10, 10, 11, 3)), sections)


def rom(rng: random.Random) -> bytes:
    """A ROM image."""
    data = rng.choice((SEABIOS, UEFI, ROM))
    return bytes(4096 * rng.choice((0, 0, 1, 70))) + data


# What is given as boot.kernel, or as boot.firmware ("firmware"), or as a kernel for firmware ("setup-code", "fw-cfg").
MAKERS: dict[str, Callable[[random.Random], bytes]] = {
    "pvh": pvh,
    "multiboot": multiboot,
    "multiboot2": multiboot_2,
    "addresses": addressed,
    "setup-code": bzimage,
    "compressed": compressed,
    "programs": program,
    "firmware": rom,
    "fw-cfg": packed,
}
PROTOCOLS = ("linux", "pvh", "multiboot", "multiboot2")
FORCED = {"pvh": "pvh", "multiboot": "multiboot", "multiboot2": "multiboot2"}
FIRMWARE = ("setup-code", "firmware", "fw-cfg")
PLACES = (*range(0x40), *range(0x80, 0x100, 4), *range(0x1F1, 0x268))


class Kernels:
    """Files of one kind, and mutations of them."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.path, self.other, self.text = folder / "image", folder / "other", folder / "x.toml"
        self.rom = folder / "rom"
        self.rom.write_bytes(SEABIOS)
        self.cache = folder.parent / "cache"
        self.count = 0
        self.spec = Spec(vm=VM(name="x"), boot=Boot(code=b"\xf4", mode="real"))

    def mutate(self, rng: random.Random) -> str:
        """Write a mutated file and what goes with it; returns what was done."""
        if self.count % CACHED == 0:
            shutil.rmtree(self.cache, ignore_errors=True)
        self.count += 1
        data, what = MAKERS[self.kind](rng), "made"
        if rng.random() < 0.5:
            data, what = bytesmutation.mutated(rng, data, PLACES), "mutated"
        self.path.write_bytes(data or b"x")
        other = CPIO if rng.random() < 0.7 else rng.choice((b"x", bytes(9000), b"#!/bin/sh\n", data[:5000]))
        self.other.write_bytes(other or b"x")
        firmware = self.kind in FIRMWARE
        boot: dict[str, Any] = {"cmdline": rng.choice(CMDLINES[: 7 if rng.random() < 0.2 else 2])}
        if rng.random() < 0.4:
            boot["initrd"] = self.other
        if firmware:
            boot["firmware"] = self.path if self.kind == "firmware" else self.rom
            self.rom.write_bytes(rng.choice((SEABIOS, SEABIOS, SEABIOS, ROM, ROM, UEFI)))
            if self.kind != "firmware":
                boot["kernel"] = self.path
            elif rng.random() < 0.8:
                boot = {"firmware": self.path}
            names = ["genroms/linuxboot_dma.bin", "opt/a", "opt/" + "b" * 51]
            names = names[: rng.choice((1, 1, 2, 3))] if rng.random() < 0.9 else names[rng.choice((1, 2, 3)) :]
            boot["files"] = tuple(FirmwareFile(name, self.other) for name in names)
        else:
            protocol = rng.choice(PROTOCOLS) if rng.random() < 0.2 else FORCED.get(self.kind)
            boot |= {"kernel": self.path, "protocol": protocol if rng.random() < 0.5 else None}
            if self.kind == "addresses" or protocol == FORCED.get(self.kind, ""):
                modules = rng.choice((0, 0, 1, 3))
                boot["modules"] = tuple(Module(self.other, rng.choice(CMDLINES[:4])) for _ in range(modules))
        devices: tuple[Device, ...] = rng.choice(((), (Serial(), ACPI())))
        memory = rng.choice((2, 16, 64, 64, 64, 64, 3080)) * MIB
        self.spec = Spec(vm=VM(name="x", memory=memory), boot=Boot(**boot), devices=devices)
        return what

    def check(self, rng: random.Random) -> None:
        """Plan a machine with it; load the machine's memory, or have what firmware reads."""
        if rng.random() < BY_COMMAND:
            self.command()
        try:
            planned = plan(self.spec)
        except SpecError as error:
            for problem in error.problems:
                assert problem.path.startswith(("boot.", "vm.memory")), problem
                assert problem.message, problem
            return
        apart(planned.placements)
        apart([part for part in planned.offered if part.address])
        memory, opened = GuestMemory(planned.slots), Images(planned.files)
        with closing(memory), closing(opened):
            for part in planned.placements:
                assert is_ram(planned.slots, part.address, part.size + part.zero), part
            state = load(planned, memory, opened)
            assert state.registers["rip"] < 1 << 52
            for part in planned.placements:
                if part.path is not None and part.name in ("kernel", "module", "initrd", "firmware"):
                    with part.path.open("rb") as file:
                        file.seek(part.offset)
                        assert memory.read(part.address, part.size) == file.read(part.size), part
                    if zeros := min(part.zero, MIB):  # without any, the part may end with the memory
                        assert memory.read(part.address + part.size, zeros) == bytes(zeros), part
            if self.kind in FIRMWARE:
                offered(planned, opened)

    def command(self) -> None:
        """The command says where in the spec the problem is."""
        boot = self.spec.boot
        lines = ["[vm]", 'name = "x"', f"memory = {self.spec.vm.memory}", "[boot]"]
        for key in ("kernel", "firmware", "initrd", "cmdline", "protocol"):
            if given := getattr(boot, key):
                lines.append(f'{key} = "{given}"')
        modules = [f'{{ path = "{each.path}" }}' for each in boot.modules]
        files = [f'{{ name = "{each.name}", path = "{each.path}" }}' for each in boot.files]
        for key, tables in (("modules", modules), ("files", files)):
            if tables:
                lines.append(f"{key} = [{', '.join(tables)}]")
        self.text.write_text("\n".join(lines))
        status, _, err = statuses("vmspec", ["check", str(self.text)])
        assert status in (0, 2), f"status {status}"
        if status == 2:
            assert all(line.startswith((f"{self.text}:", " ")) for line in err.splitlines()), err[:500]


def apart(parts: Sequence[Placement]) -> None:
    """No part lies over another."""
    spans = sorted((part.address, part.address + part.size + part.zero, part.name) for part in parts)
    for low, high in pairwise(spans):
        assert low[1] <= high[0], (low, high)


def offered(planned: Plan, opened: Images) -> None:
    """All items can be read, piece by piece, and the directory has the files' names, sizes and keys."""
    items = fwcfg.items(planned, opened)
    directory = items[R.FILES].read(0, items[R.FILES].size)
    (count,) = struct.unpack_from(R.COUNT, directory)
    assert len(directory) == 4 + 64 * count
    rows = list(struct.iter_unpack(R.FILE, directory[4:]))
    names = [name.rstrip(b"\0") for _, _, name in rows]
    assert names == sorted(set(names))
    assert [key for _, key, _ in rows] == list(range(R.FIRST_FILE, R.FIRST_FILE + count))
    for size, key, name in rows:
        assert (items[key].size, name[-1]) == (size, 0)
    for item in items.values():
        assert len(item.read(0, min(item.size, MIB))) == min(item.size, MIB)
        assert len(item.read(item.size - 1, 9)) == min(item.size, 1)
