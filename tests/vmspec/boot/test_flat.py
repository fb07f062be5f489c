"""Flat guests at the edges of RAM, of what each mode reaches, and of the tables that it needs."""

from pathlib import Path

import pytest

from vmspec.boot.flat import start
from vmspec.plan.memory_map import slots
from vmspec.plan.plan import Placement, Start
from vmspec.schema.problems import Problem
from vmspec.spec.models import Boot, Module

MIB = 1 << 20
GIB = 1 << 30
GDT = 0x500  # 32 bytes: null, code, data, and a 64-bit code segment
PAGE_TABLES = 0x90000  # six pages: PML4, PDPT and four page directories


def planned(size: int = 1, memory: int = MIB, **boot: object) -> tuple[Start | None, list[str]]:
    problems: list[Problem] = []
    given = Boot(**{"code": bytes(size), "mode": "real"} | boot)
    return start(given, size, slots(memory), problems), [str(problem) for problem in problems]


def faults(size: int = 1, memory: int = MIB, **boot: object) -> list[str]:
    found, problems = planned(size, memory, **boot)
    assert (found is None) == bool(problems)
    return problems


@pytest.mark.parametrize(
    ("mode", "load", "memory", "reached"),
    [
        ("real", 0xFFFF, MIB, True),
        ("real", 0x10000, MIB, False),
        ("protected", 0xBFFFFFFF, 5 * GIB, True),
        ("protected", 4 * GIB, 5 * GIB, False),
        ("long", 4 * GIB, 5 * GIB, False),
    ],
)
def test_what_each_mode_reaches(mode: str, load: int, memory: int, reached: bool) -> None:
    """CS is 0 in real mode; the page tables map 4 GiB."""
    end = "0x10000" if mode == "real" else "0x100000000"
    expected = [] if reached else [f"boot.load: {mode} mode starts below {end} (here: {load:#x})"]
    assert faults(memory=memory, mode=mode, load=load) == expected


def test_an_entry_out_of_reach_is_the_entrys_fault() -> None:
    assert faults(load=0x1000, entry=0x10000) == ["boot.entry: real mode starts below 0x10000 (here: 0x10000)"]
    assert faults(load=0x1000, entry=-1) == ["boot.entry: real mode starts below 0x10000 (here: -0x1)"]


@pytest.mark.parametrize(("entry", "inside"), [(0, True), (MIB - 1, True), (MIB, False)])
def test_the_entry_is_in_ram(entry: int, inside: bool) -> None:
    expected = [] if inside else ["boot.entry: is not RAM: RAM is 0x0-0xfffff (here: 0x100000)"]
    assert faults(mode="protected", entry=entry) == expected


@pytest.mark.parametrize(("load", "inside"), [(0, True), (MIB - 4, True), (MIB - 3, False), (-1, False)])
def test_the_code_is_in_ram(load: int, inside: bool) -> None:
    where = f"{load:#x}-{load + 3:#x}"
    assert faults(4, load=load, entry=0x1000) == (
        [] if inside else [f"boot.load: the code does not lie in RAM: RAM is 0x0-0xfffff (here: {where})"]
    )


def test_ram_on_both_sides_of_the_hole_is_told() -> None:
    assert faults(memory=4 * GIB, mode="long", load=3 * GIB) == [
        "boot.load: the code does not lie in RAM: RAM is 0x0-0xbfffffff and 0x100000000-0x13fffffff "
        "(here: 0xc0000000-0xc0000000)"
    ]


@pytest.mark.parametrize(
    ("mode", "load", "overlapped"),
    [
        ("real", GDT, None),
        ("protected", GDT - 8, None),
        ("protected", GDT - 7, "gdt at 0x500-0x51f"),
        ("protected", GDT + 31, "gdt at 0x500-0x51f"),
        ("protected", GDT + 32, None),
        ("protected", PAGE_TABLES, None),
        ("long", PAGE_TABLES - 8, None),
        ("long", PAGE_TABLES - 7, "page-tables at 0x90000-0x95fff"),
        ("long", PAGE_TABLES + 0x5FFF, "page-tables at 0x90000-0x95fff"),
        ("long", PAGE_TABLES + 0x6000, None),
    ],
)
def test_code_may_touch_the_tables_and_not_overlap_them(mode: str, load: int, overlapped: str | None) -> None:
    here = f"{load:#x}-{load + 7:#x}"
    assert faults(8, mode=mode, load=load) == (
        [] if overlapped is None else [f"boot.load: the code overlaps the {overlapped} (here: {here})"]
    )


@pytest.mark.parametrize(("memory", "enough"), [(0x96000, True), (0x95000, False)])
def test_long_mode_needs_ram_for_its_page_tables(memory: int, enough: bool) -> None:
    message = "vm.memory: long mode needs RAM up to 0x96000 for its page-tables (here: 0x95000)"
    assert faults(memory=memory, mode="long") == ([] if enough else [message])


def test_whose_fault_it_is_that_the_code_does_not_fit(tmp_path: Path) -> None:
    assert faults(MIB)[0].startswith("boot.code: the code does not lie in RAM")
    assert faults(MIB, code=None, kernel=tmp_path)[0].startswith("boot.kernel: the code does not lie in RAM")
    assert faults(MIB, load=0x1000)[0].startswith("boot.load: the code does not lie in RAM")


def test_a_mode_is_needed(tmp_path: Path) -> None:
    modes = "allowed: real, protected, long"
    assert faults(mode=None) == [f"boot.mode: must be given; {modes}"]
    assert faults(code=None, kernel=tmp_path, mode=None) == [
        f"boot.kernel: is not a known kernel; a flat image needs boot.mode (here: {tmp_path}); {modes}"
    ]


def test_what_only_kernels_take() -> None:
    modules = (Module(path=Path("/module")),)
    assert faults(initrd=Path("/initrd"), cmdline="quiet", protocol="pvh", modules=modules) == [
        "boot.protocol: is for kernels; this guest is a flat image (here: pvh)",
        "boot.initrd: is for kernels; this guest is a flat image (here: /initrd)",
        "boot.cmdline: is for kernels; this guest is a flat image (here: quiet)",
        "boot.modules: are for kernels; this guest is a flat image",
    ]


def test_problems_that_were_there_before_stop_nothing() -> None:
    problems = [Problem("vm.pit", "is wrong")]
    found = start(Boot(code=b"\xf4", mode="real"), 1, slots(MIB), problems)
    assert found is not None
    assert len(problems) == 1


def test_a_start_in_long_mode_from_a_file(tmp_path: Path) -> None:
    found, _ = planned(100, code=None, kernel=tmp_path, mode="long", load=0x2000, registers={"rflags": 0x200})
    assert found is not None
    assert (found.image, found.protocol) == ("flat", "flat")
    # Bit 1 of RFLAGS is always 1 (Intel SDM volume 1, 3.4.3).
    assert found.entry == ("long", 0x2000, {"rsp": 0x2000, "rflags": 0x202})
    assert found.placements == (
        Placement("code", 0x2000, 100, tmp_path),
        Placement("gdt", GDT, 32),
        Placement("page-tables", PAGE_TABLES, 0x6000),
    )


def test_code_from_the_spec_has_no_file() -> None:
    found, _ = planned()
    assert found is not None
    assert found.placements == (Placement("code", 0x1000, 1),)
