"""Linux kernels at the edges of RAM and of what their headers say (boot protocol 2.15)."""

from pathlib import Path

import pytest

from tests.vmspec.image import images
from vmspec.boot.linux import start
from vmspec.image import identify, opened
from vmspec.plan.memory_map import slots
from vmspec.plan.plan import Placement, Start
from vmspec.schema.problems import Problem
from vmspec.spec.models import VM, Boot, Spec

MIB = 1 << 20
GIB = 1 << 30
PREFERRED = 0x1000000  # of the test's images, with init_size 8 MiB


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def planned(path: Path, data: bytes, memory: int = 64 * MIB, **boot: object) -> tuple[Start | None, list[str]]:
    path.write_bytes(data)
    problems: list[Problem] = []
    spec = Spec(vm=VM(name="linux"), boot=Boot(**{"kernel": path, "unpack": False} | boot))
    with opened(path) as source:
        image = identify(source, flat=False)
        assert image is not None
        return start(spec, source, image, slots(memory), problems), [str(problem) for problem in problems]


def started(path: Path, data: bytes, memory: int = 64 * MIB, **boot: object) -> Start:
    found, problems = planned(path, data, memory, **boot)
    assert found is not None, problems
    assert problems == []
    return found


def faults(path: Path, data: bytes, memory: int = 64 * MIB, **boot: object) -> list[str]:
    found, problems = planned(path, data, memory, **boot)
    assert found is None
    return problems


def kernel(found: Start) -> Placement:
    return found.placements[0]


def test_a_whole_64_bit_start(tmp_path: Path) -> None:
    """The entry is 0x200 behind the load address, and RSI has boot_params (boot protocol, "64-bit boot protocol")."""
    path = tmp_path / "k"
    found = started(path, images.bzimage())
    assert (found.image, found.protocol, found.bits, found.notes, found.files) == ("bzimage", "linux64", 64, (), ())
    assert found.entry == ("long", PREFERRED + 0x200, {"rsi": 0x7000, "rflags": 2})
    size = (0x2CC + 600 + 15) // 16 * 16
    assert found.placements == (
        Placement("kernel", PREFERRED, size, path, images.SETUP_SIZE, 0x800000 - size),
        Placement("cmdline", 0x20000, 1),
        Placement("boot_params", 0x7000, 0x1000, path, 0x1F1),
        Placement("gdt", 0x500, 32),
        Placement("page-tables", 0x90000, 0x6000),
    )


def test_a_whole_32_bit_start(tmp_path: Path) -> None:
    found = started(tmp_path / "k", images.bzimage(xloadflags=0))
    assert (found.protocol, found.bits) == ("linux32", 32)
    assert found.entry == ("protected", PREFERRED, {"rsi": 0x7000, "rflags": 2})
    assert [part.name for part in found.placements] == ["kernel", "cmdline", "boot_params", "gdt"]


def test_a_whole_start_of_an_elf_kernel(tmp_path: Path) -> None:
    path = tmp_path / "k"
    found = started(path, images.elf((MIB, 0, b"ab", 0x1000), (2 * MIB, 0, b"cde", 3), entry=MIB + 1))
    assert (found.image, found.protocol, found.bits) == ("vmlinux", "elf64", 64)
    assert found.entry == ("long", MIB + 1, {"rsi": 0x7000, "rflags": 2})
    at = 64 + 2 * 56
    assert found.placements == (
        Placement("kernel", MIB, 2, path, at, 0xFFE),
        Placement("kernel", 2 * MIB, 3, path, at + 2, 0),
        Placement("cmdline", 0x20000, 1),
        Placement("boot_params", 0x7000, 0x1000),
        Placement("gdt", 0x500, 32),
        Placement("page-tables", 0x90000, 0x6000),
    )


@pytest.mark.parametrize(
    ("fields", "load"),
    [
        ({"pref_address": 0x1000001}, 0x1200000),
        ({"pref_address": 0x1000000, "kernel_alignment": 0x2000000}, 0x2000000),
        ({"pref_address": 0}, 0x200000),
        ({"pref_address": 0, "kernel_alignment": 0x100000}, 0x100000),
        ({"pref_address": 0, "kernel_alignment": 1}, 0x100000),
    ],
)
def test_a_relocatable_kernel_lies_aligned_and_not_below_its_preferred_address(
    tmp_path: Path, fields: dict[str, int], load: int
) -> None:
    assert kernel(started(tmp_path / "k", images.bzimage(**fields))).address == load


@pytest.mark.parametrize(("preferred", "end"), [(0x1000000, 0x1800000), (0x80000, 0x900000)])
def test_a_kernel_that_is_not_relocatable_needs_memory_where_it_runs(tmp_path: Path, preferred: int, end: int) -> None:
    part = kernel(started(tmp_path / "k", images.bzimage(relocatable=0, pref_address=preferred)))
    assert (part.address, part.address + part.size + part.zero) == (MIB, end)


def test_a_kernel_larger_than_its_init_size_needs_its_own_size(tmp_path: Path) -> None:
    assert kernel(started(tmp_path / "k", images.bzimage(init_size=16))).zero == 0


@pytest.mark.parametrize(("size", "within"), [(0x200000, True), (0x200001, False)])
def test_a_kernel_ends_within_32_bits(tmp_path: Path, size: int, within: bool) -> None:
    data = images.bzimage(pref_address=0xFFE00000, init_size=size)
    (problem, *_) = faults(tmp_path / "k", data)
    expected = (
        "boot.kernel: reaches up to 0x100000000; RAM for a kernel ends at 0xc0000000"
        if within
        else f"boot.kernel: must be loaded at 0xffe00000, beyond 32-bit addresses (here: {tmp_path / 'k'})"
    )
    assert problem == expected


@pytest.mark.parametrize(("entry", "inside"), [(MIB - 1, False), (MIB, True), (MIB + 895, True), (MIB + 896, False)])
def test_the_32_bit_entry_of_a_kernel_that_is_not_relocatable_lies_in_it(
    tmp_path: Path, entry: int, inside: bool
) -> None:
    data = images.bzimage(kernel=bytes(896), relocatable=0, xloadflags=0, code32_start=entry, payload_length=0)
    found, problems = planned(tmp_path / "k", data)
    if inside:
        assert found is not None
        assert found.entry.rip == entry
    else:
        assert problems == [
            "boot.kernel: is started only by its 16-bit setup code, which needs a BIOS: it has no 32-bit entry. Give "
            "boot.firmware, such as SeaBIOS: vmspec new firmware --kernel FILE writes such a spec "
            f"(here: {tmp_path / 'k'})"
        ]


@pytest.mark.parametrize(("memory", "fits"), [(24 * MIB, True), (24 * MIB - 4096, False)])
def test_ram_that_a_kernel_needs(tmp_path: Path, memory: int, fits: bool) -> None:
    _, problems = planned(tmp_path / "k", images.bzimage(), memory)
    need = "vm.memory: the kernel needs 24 MiB: while it starts it uses memory up to 0x1800000 (here: 24 MiB)"
    assert problems == ([] if fits else [need])


@pytest.mark.parametrize(("size", "fits"), [(1, True), (2, False)])
def test_a_kernel_ends_below_the_hole(tmp_path: Path, size: int, fits: bool) -> None:
    data = images.elf((3 * GIB - 1, 0, b"\xf4", size), entry=3 * GIB - 1)
    _, problems = planned(tmp_path / "k", data, 4 * GIB)
    assert problems == ([] if fits else ["boot.kernel: reaches up to 0xc0000001; RAM for a kernel ends at 0xc0000000"])


def test_an_elf_kernel_begins_at_1_mib_or_above(tmp_path: Path) -> None:
    path = tmp_path / "k"
    assert faults(path, images.elf((MIB - 1, 0, b"\xf4", 1), entry=MIB - 1)) == [
        f"boot.kernel: has a segment for 0xfffff: a kernel starts at 0x100000 or above (here: {path})"
    ]


def test_an_elf_kernel_starts_in_the_first_4_gib(tmp_path: Path) -> None:
    path = tmp_path / "k"
    data = images.elf((MIB, 0, b"\xf4", 1), (4 * GIB, 0, b"\xf4", 1), entry=4 * GIB)
    assert faults(path, data, 5 * GIB) == [f"boot.kernel: starts at 0x100000000, beyond the first 4 GiB (here: {path})"]


def test_keys_of_flat_guests(tmp_path: Path) -> None:
    given = {"mode": "long", "load": 0, "entry": 0, "registers": {"rax": 1}}
    assert faults(tmp_path / "k", images.bzimage(), **given) == [
        f"boot.{key}: is for flat guests; boot.kernel is a Linux bzImage" for key in given
    ]
    assert faults(tmp_path / "k", images.elf(), mode="long") == [
        "boot.mode: is for flat guests; boot.kernel is an ELF kernel"
    ]


# The initrd: a page boundary as high as RAM, the hole and the kernel's own limit allow.


@pytest.mark.parametrize(("size", "fits"), [(40 * MIB, True), (40 * MIB + 1, False)])
def test_an_initrd_may_begin_where_the_kernel_ends(tmp_path: Path, size: int, fits: bool) -> None:
    (tmp_path / "initrd").write_bytes(b"070701")
    with (tmp_path / "initrd").open("r+") as file:
        file.truncate(size)
    found, problems = planned(tmp_path / "k", images.bzimage(), initrd=tmp_path / "initrd")
    if fits:
        assert found is not None
        assert found.placements[1] == Placement("initrd", 0x1800000, size, tmp_path / "initrd")
        assert [(file.name, file.path) for file in found.files] == [("initrd", tmp_path / "initrd")]
    else:
        assert problems == [
            f"boot.initrd: does not fit: it has {size} bytes, and {40 * MIB} are free between the kernel's end "
            f"0x1800000 and 0x4000000 (here: {tmp_path / 'initrd'})"
        ]


def test_no_room_at_all_for_an_initrd_is_none_and_not_less(tmp_path: Path) -> None:
    (tmp_path / "initrd").write_bytes(b"070701")
    data = images.bzimage(initrd_addr_max=0xFFFFF)
    assert faults(tmp_path / "k", data, initrd=tmp_path / "initrd") == [
        "boot.initrd: does not fit: it has 6 bytes, and 0 are free between the kernel's end 0x1800000 and 0x100000 "
        f"(here: {tmp_path / 'initrd'})"
    ]


def test_an_elf_kernels_initrd_lies_below_2_gib(tmp_path: Path) -> None:
    """As the kernel's own headers say: initrd_addr_max is 0x7fffffff."""
    (tmp_path / "initrd").write_bytes(b"070701")
    found = started(tmp_path / "k", images.elf(), 3 * GIB, initrd=tmp_path / "initrd")
    assert found.placements[1].address == 0x7FFFF000


def test_an_initrd_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "initrd").write_bytes(images.elf())
    (problem,) = faults(tmp_path / "k", images.bzimage(), initrd=tmp_path / "initrd")
    assert problem.startswith("boot.initrd: is ")
    assert problem.endswith(f"(here: {tmp_path / 'initrd'})")


# The command line: its size counts without the NUL (boot protocol, cmdline_size).


@pytest.mark.parametrize(
    ("limit", "length", "allowed"),
    [(255, 255, None), (255, 256, 255), (2047, 2047, None), (0xFFFFFFFF, 65535, None), (0xFFFFFFFF, 65536, 65535)],
)
def test_the_longest_command_line(tmp_path: Path, limit: int, length: int, allowed: int | None) -> None:
    found, problems = planned(tmp_path / "k", images.bzimage(cmdline_size=limit), cmdline="c" * length)
    if allowed is None:
        assert found is not None
        assert found.placements[1] == Placement("cmdline", 0x20000, length + 1)
    else:
        shown = "c" * 40 + "..."
        assert problems == [f"boot.cmdline: has {length} bytes; this kernel takes {allowed} (here: {shown})"]


def test_a_command_line_ends_at_its_nul(tmp_path: Path) -> None:
    assert faults(tmp_path / "k", images.bzimage(), cmdline="a\0b") == [
        "boot.cmdline: has a NUL, at which the kernel would end it"
    ]


def test_lone_surrogates_become_question_marks(tmp_path: Path) -> None:
    assert started(tmp_path / "k", images.bzimage(), cmdline="\udc80é").placements[1].size == 4


# Unpacking


def test_an_unpacked_kernel_names_both_files(tmp_path: Path) -> None:
    path = tmp_path / "k"
    found = started(path, images.bzimage(images.gzipped(images.elf())), unpack=True)
    assert (found.image, found.protocol, found.entry.rip) == ("bzimage", "elf64", PREFERRED)
    (unpacked,) = found.files
    assert (unpacked.name, unpacked.path, unpacked.version) == ("unpacked", kernel(found).path, None)
    assert found.placements[2] == Placement("boot_params", 0x7000, 0x1000, path, 0x1F1)


def test_a_kernel_that_is_no_64_bit_elf_unpacks_itself(tmp_path: Path) -> None:
    found = started(tmp_path / "k", images.bzimage(images.gzipped(b"\x7fELF" + bytes(200))), unpack=True)
    assert found.protocol == "linux64"
    (note,) = found.notes
    assert note.startswith("the kernel unpacks itself: the compressed kernel in it ")
