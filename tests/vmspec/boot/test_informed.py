"""Kernels that are started by PVH and Multiboot: where their parts go, and what does not fit."""

import struct
from pathlib import Path

import pytest

from tests.vmspec.image import images
from tests.vmspec.image.multiboots import multiboot1, multiboot2
from vmspec.devices.isa import ACPI
from vmspec.plan.plan import Placement, Plan
from vmspec.planner import plan
from vmspec.schema.problems import SpecError
from vmspec.spec.models import VM, Boot, Module, Spec

MIB = 1 << 20
BODY = b"\xf4" * 0x40
SMALL = ((0x100000, 0xC0100000, BODY, 0x3000),)


def planned(path: Path, data: bytes, memory: int = 4 * MIB, **boot: object) -> Plan:
    path.write_bytes(data)
    return plan(Spec(vm=VM(name="kernel", memory=memory), boot=Boot(**{"kernel": path} | boot), devices=(ACPI(),)))


def fault(path: Path, data: bytes, memory: int = 4 * MIB, **boot: object) -> str:
    with pytest.raises(SpecError) as error:
        planned(path, data, memory, **boot)
    return str(error.value)


def parts(found: Plan, name: str) -> list[Placement]:
    return [placement for placement in found.placements if placement.name == name]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "kernel"


@pytest.fixture
def modules(tmp_path: Path) -> tuple[Module, ...]:
    (tmp_path / "a").write_bytes(b"a" * 5000)
    (tmp_path / "b").write_bytes(b"b")
    return (Module(path=tmp_path / "a", cmdline="first of two"), Module(path=tmp_path / "b"))


def test_multiboot_enters_protected_mode_with_the_information_in_ebx(file: Path) -> None:
    found = planned(file, images.elf32(*SMALL, entry=0xC0100010) + multiboot1(), cmdline="quiet")
    assert (found.image, found.protocol, found.bits) == ("elf", "multiboot", 32)
    assert found.notes == ("started by multiboot: it has a Multiboot header",)
    assert found.entry == ("protected", 0x100010, {"rax": 0x2BADB002, "rbx": 0x7000, "rflags": 2})
    assert parts(found, "kernel") == [Placement("kernel", 0x100000, 0x40, file, 84, 0x2FC0)]
    assert parts(found, "cmdline") == [Placement("cmdline", 0x20000, 6)]
    # Like Linux, it finds a PC.
    assert (found.irqchip, found.pit, bool(found.e820), bool(parts(found, "mptable"))) == (True, True, True, True)


def test_multiboot_2_may_have_an_entry_of_its_own(file: Path) -> None:
    header = multiboot2((3, 0, struct.pack("<I", 0x100020)))
    found = planned(file, images.elf32(*SMALL) + bytes(-len(images.elf32(*SMALL)) % 8) + header)
    assert found.protocol == "multiboot2"
    assert found.entry == ("protected", 0x100020, {"rax": 0x36D76289, "rbx": 0x7000, "rflags": 2})


def test_modules_follow_the_kernel_on_pages_of_their_own(file: Path, modules: tuple[Module, ...]) -> None:
    found = planned(file, images.elf32(*SMALL) + multiboot1(), modules=modules)
    a, b = (module.path for module in modules)
    assert parts(found, "module") == [Placement("module", 0x103000, 5000, a), Placement("module", 0x105000, 1, b)]
    assert found.modules == ("first of two", "")
    assert [file.name for file in found.files] == ["kernel", "modules[0]", "modules[1]"]


def test_an_initrd_is_the_first_module(file: Path, modules: tuple[Module, ...]) -> None:
    found = planned(file, images.elf32(*SMALL) + multiboot1(), initrd=modules[0].path, modules=modules[1:])
    assert [(part.size, part.path) for part in parts(found, "module")] == [
        (5000, modules[0].path),
        (1, modules[1].path),
    ]
    assert found.modules == ("", "")


@pytest.mark.parametrize(
    ("load_end", "bss_end", "size", "zero"),
    [(0, 0, 0x70, 0), (0x100040, 0, 0x40, 0), (0x100040, 0x100200, 0x40, 0x1C0), (0, 0x100200, 0x70, 0x190)],
)
def test_a_file_that_is_no_elf_goes_where_its_header_says(
    file: Path, load_end: int, bss_end: int, size: int, zero: int
) -> None:
    header = multiboot1(1 << 16, (0x100010, 0x100000, load_end, bss_end, 0x100030))
    found = planned(file, bytes(8) + bytes(0x10) + header + BODY)
    assert parts(found, "kernel") == [Placement("kernel", 0x100000, size, file, 8, zero)]
    assert found.entry.rip == 0x100030


def test_pvh_enters_where_the_note_says(file: Path, modules: tuple[Module, ...]) -> None:
    kernel = images.noted(images.elf32(*SMALL), images.xen(18, struct.pack("<I", 0x100008)))
    found = planned(file, kernel, modules=modules)
    assert found.protocol == "pvh"
    assert found.entry == ("protected", 0x100008, {"rax": 0, "rbx": 0x7000, "rflags": 2})
    # As high as possible, as for Linux by its own protocol.
    assert [part.address for part in parts(found, "module")] == [0x3FD000, 0x3FF000]


def test_pvh_of_a_bzimage_is_that_of_the_kernel_in_it(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    kernel = images.noted(images.elf(), images.xen(18, struct.pack("<I", 0x1000004)))
    found = planned(file, images.bzimage(images.gzipped(kernel)), 64 * MIB, protocol="pvh")
    assert (found.image, found.protocol, found.bits, found.entry.rip) == ("bzimage", "pvh", 64, 0x1000004)
    assert [entry.name for entry in found.files] == ["kernel", "unpacked"]
    assert found.notes == ("started by pvh: boot.protocol asks for it",)


def test_a_video_mode_is_noted(file: Path) -> None:
    found = planned(file, images.elf32(*SMALL) + multiboot1(7))
    assert found.notes[1] == "it asks for a video mode, and there is no display"


@pytest.mark.parametrize(
    ("data", "boot", "message"),
    [
        (images.elf32(*SMALL) + multiboot1(1 << 4), {}, "boot.kernel: needs of its loader what flag 4 stands for"),
        (images.elf32(*SMALL), {}, "boot.kernel: is a 32-bit ELF file with neither a Multiboot header"),
        (bytes(64) + multiboot1(), {}, "boot.kernel: is no ELF file, and its Multiboot header does not say where"),
        (
            bytes(64) + multiboot2((2, 0, struct.pack("<4I", 0x100040, 0x100000, 0, 0))),
            {},
            "boot.kernel: has addresses in its Multiboot 2 header and no entry",
        ),
        (
            multiboot1(1 << 16, (0x100000, 0x100000, 0x200000, 0, 0x100000)),
            {},
            "boot.kernel: truncated: what goes to 0x100000 ends at byte 1048576 of 32",
        ),
        (images.elf(), {"protocol": "pvh"}, "boot.kernel: cannot be started by pvh; it can by: linux"),
        (
            images.noted(images.elf(), images.xen(18, b"\0\0\0\x09")),
            {"protocol": "pvh"},
            "boot.kernel: has its PVH entry at 0x9000000, which is in no loaded segment",
        ),
        (
            images.elf32((0x6F00, 0x6F00, BODY, 0x200), entry=0x6F00) + multiboot1(),
            {},
            "boot.kernel: has a part for 0x6f00-0x70ff, where vmrun puts the boot-information (0x7000-",
        ),
        (
            images.elf32((0xE0000, 0xE0000, BODY, 0x200), entry=0xE0000) + multiboot1(),
            {},
            "boot.kernel: has a part for 0xe0000-0xe01ff, where vmrun puts the acpi (0xe0000-0xeffff)",
        ),
        (images.elf32(*SMALL) + multiboot1(), {"mode": "long"}, "boot.mode: is for flat guests; boot.kernel is a Mult"),
        (images.elf32((0x100000, 0, BODY, 8 * MIB)) + multiboot1(), {}, "vm.memory: the kernel needs 9 MiB"),
        (images.elf(), {"modules": (Module(path=Path("/bin/sh")),)}, "boot.modules: are for PVH and Multiboot"),
    ],
)
def test_what_is_refused(file: Path, data: bytes, boot: dict[str, object], message: str) -> None:
    assert message in fault(file, data, **boot)


def test_modules_that_do_not_fit(file: Path, modules: tuple[Module, ...]) -> None:
    with modules[0].path.open("r+b") as large:
        large.truncate(3 * MIB)
    kernel = images.elf32(*SMALL) + multiboot1()
    assert "boot.modules: do not fit: they take 3149824 bytes, and 3133440 are free after the" in fault(
        file, kernel, modules=modules
    )
    assert "boot.modules[0].path: do not fit" in fault(file, kernel, modules=modules[:1], memory=4 * MIB - 4096)


def test_modules_of_a_low_kernel_may_reach_tables(file: Path, modules: tuple[Module, ...]) -> None:
    kernel = images.elf32((0x80000, 0x80000, BODY, 0x3000), entry=0x80000) + multiboot1()
    assert [part.address for part in parts(planned(file, kernel, modules=modules), "module")] == [0x83000, 0x85000]
    modules[0].path.write_bytes(bytes(0x60000))
    found = fault(file, kernel, modules=modules)
    assert "boot.modules: has a part for 0x83000-0xe2fff, where vmrun puts the acpi (0xe0000-0xeffff)" in found


def test_a_module_that_is_missing_is_named(file: Path, tmp_path: Path) -> None:
    found = fault(file, images.elf32(*SMALL) + multiboot1(), modules=(Module(path=tmp_path / "none"),))
    assert "boot.modules[0].path: cannot be opened: No such file" in found


def test_command_lines_that_are_too_long_for_their_place(file: Path, modules: tuple[Module, ...]) -> None:
    line = Module(path=modules[1].path, cmdline="x" * 60_000)
    assert "boot.modules: their command lines are too long" in fault(
        file, images.elf32(*SMALL) + multiboot1(), modules=(line, line)
    )
