"""What kernels get by PVH and Multiboot, read as a kernel reads it."""

import struct
from pathlib import Path

import pytest

from runner.boot.information import build
from tests.vmspec.image import images
from tests.vmspec.image.multiboots import multiboot1, multiboot2
from vmspec.devices.isa import ACPI
from vmspec.plan.plan import Plan
from vmspec.planner import plan
from vmspec.spec.models import VM, Boot, Module, Spec

AT, CMDLINE, RSDP = 0x7000, 0x20000, 0xE0000
KERNEL = images.elf32()
HEADERS = {
    "multiboot": KERNEL + multiboot1(),
    "multiboot2": KERNEL + bytes(-len(KERNEL) % 8) + multiboot2(),
    "pvh": images.noted(KERNEL, images.xen(18, struct.pack("<I", 0x100000))),
}


@pytest.fixture(params=[0, 1, 3])
def count(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(params=[False, True])
def acpi(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def planned(directory: Path, protocol: str, count: int, acpi: bool) -> Plan:
    (directory / "kernel").write_bytes(HEADERS[protocol])
    modules = []
    for number in range(count):
        (directory / str(number)).write_bytes(b"m" * (4000 + number))
        modules.append(Module(path=directory / str(number), cmdline="m" * number))
    boot = Boot(kernel=directory / "kernel", cmdline="a line", modules=tuple(modules))
    found = plan(Spec(vm=VM(name="x", memory=4 << 20), boot=boot, devices=(ACPI(),) if acpi else ()))
    assert found.protocol == protocol
    return found


def placed(found: Plan) -> list[tuple[int, int]]:
    return [(part.address, part.size) for part in found.placements if part.name == "module"]


def text(data: bytes, address: int) -> bytes:
    return data[address - AT : data.index(b"\0", address - AT)]


@pytest.mark.parametrize("protocol", HEADERS)
def test_it_fits_its_place(tmp_path: Path, protocol: str, count: int, acpi: bool) -> None:
    found = planned(tmp_path, protocol, count, acpi)
    place = found.placement("boot-information")
    assert place is not None
    assert len(build(found, AT)) <= place.size


def test_pvh(tmp_path: Path, count: int, acpi: bool) -> None:
    found = planned(tmp_path, "pvh", count, acpi)
    data = build(found, AT)
    magic, version, flags, modules, listed, line, rsdp, mapped, entries, _ = struct.unpack_from("<4I4Q2I", data)
    assert (magic, version, flags, modules, line) == (0x336EC578, 1, 0, count, CMDLINE)
    assert rsdp == (RSDP if acpi else 0)
    rows = list(struct.iter_unpack("<4Q", data[listed - AT :][: 32 * count]))
    assert [row[:2] for row in rows] == placed(found)
    assert [text(data, row[2]) for row in rows] == [b"m" * number for number in range(count)]
    rows = list(struct.iter_unpack("<QQII", data[mapped - AT :][: 24 * entries]))
    assert [row[:3] for row in rows] == [tuple(entry) for entry in found.e820]


def test_multiboot(tmp_path: Path, count: int, acpi: bool) -> None:
    found = planned(tmp_path, "multiboot", count, acpi)
    data = build(found, AT)
    info = struct.unpack_from("<18I", data)
    flags, lower, upper, _, line, modules, listed, *_ = info
    assert flags == 1 << 0 | 1 << 2 | 1 << 3 | 1 << 6 | 1 << 9
    assert (lower, upper, line, modules) == (639, 3 * 1024, CMDLINE, count)
    rows = list(struct.iter_unpack("<4I", data[listed - AT :][: 16 * count]))
    assert [(start, end - start) for start, end, *_ in rows] == placed(found)
    assert [text(data, row[2]) for row in rows] == [b"m" * number for number in range(count)]
    size, mapped, name = info[11], info[12], info[16]
    at, entries = mapped - AT, []
    while at < mapped - AT + size:
        (bytes_after,) = struct.unpack_from("<I", data, at)
        entries.append(struct.unpack_from("<QQI", data, at + 4))
        at += bytes_after + 4
    assert entries == [tuple(entry) for entry in found.e820]
    assert text(data, name) == b"vmrun"


def test_multiboot_2(tmp_path: Path, count: int, acpi: bool) -> None:
    found = planned(tmp_path, "multiboot2", count, acpi)
    data = build(found, AT)
    assert struct.unpack_from("<II", data) == (len(data), 0)
    tags, at = [], 8
    while at < len(data):
        kind, size = struct.unpack_from("<II", data, at)
        tags.append((kind, data[at + 8 : at + size]))
        at += -(-size // 8) * 8
    assert [kind for kind, _ in tags] == [1, 2, 4, 6, *[3] * count, *([15] if acpi else []), 0]
    contents = dict(tags)
    assert (contents[1], contents[2]) == (b"a line\0", b"vmrun\0")
    assert contents[4] == struct.pack("<II", 639, 3 * 1024)
    assert struct.unpack_from("<II", contents[6]) == (24, 0)
    rows = list(struct.iter_unpack("<QQII", contents[6][8:]))
    assert [row[:3] for row in rows] == [tuple(entry) for entry in found.e820]
    modules = [body for kind, body in tags if kind == 3]
    assert [struct.unpack_from("<II", body) for body in modules] == [(at, at + size) for at, size in placed(found)]
    assert [body[8:] for body in modules] == [b"m" * number + b"\0" for number in range(count)]
    if acpi:
        assert contents[15].startswith(b"RSD PTR ")
        assert len(contents[15]) == 36
