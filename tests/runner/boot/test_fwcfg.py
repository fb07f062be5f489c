"""What fw_cfg has for firmware, read as firmware reads it."""

import os
import struct
from pathlib import Path
from typing import Any

import pytest

from runner.boot import Images, acpi, fwcfg
from tests.runner.boot.plans import PC
from tests.vmspec.image import images as made
from vmspec.devices.models import Device
from vmspec.plan.plan import Plan
from vmspec.planner import plan
from vmspec.registers import fwcfg as R
from vmspec.spec.models import VM, Boot, FirmwareFile, Spec

MIB = 1 << 20
ROM = bytes(4080) + b"\xea\x5b\xe0\x00\xf0".ljust(16, b"\0")


def planned(folder: Path, devices: tuple[Device, ...] = PC, **boot: Any) -> Plan:
    (folder / "rom").write_bytes(ROM)
    machine = VM(name="m", memory=64 * MIB, vcpus=3)
    return plan(Spec(vm=machine, boot=Boot(firmware=folder / "rom", **boot), devices=devices))


class Found:
    """The items of a plan."""

    def __init__(self, made: Plan) -> None:
        self._images = Images(made.files)
        self._items = fwcfg.items(made, self._images)

    def data(self, key: int) -> bytes:
        item = self._items[key]
        return item.read(0, item.size)

    def number(self, key: int) -> int:
        return int.from_bytes(self.data(key), "little")

    @property
    def files(self) -> dict[str, bytes]:
        directory = self.data(R.FILES)
        (count,) = struct.unpack_from(R.COUNT, directory)
        found = {}
        for number in range(count):
            size, key, name = struct.unpack_from(R.FILE, directory, 4 + 64 * number)
            found[name.rstrip(b"\0").decode()] = self.data(key)
            assert (len(self.data(key)), key) == (size, R.FIRST_FILE + number)
        assert [*found] == sorted(found)
        return found


def test_the_machine(tmp_path: Path) -> None:
    found = Found(planned(tmp_path))
    assert (found.data(R.SIGNATURE), found.number(R.ID)) == (b"QEMU", 3)
    assert (found.number(R.CPUS), found.number(R.CPUS_MAX), found.number(R.RAM_SIZE)) == (3, 3, 64 * MIB)
    assert [*found.files] == ["etc/acpi/rsdp", "etc/acpi/tables", "etc/e820", "etc/sercon-port", "etc/table-loader"]
    assert found.files["etc/sercon-port"] == (0x3F8).to_bytes(8, "little")


def test_the_memory_map_is_the_plans(tmp_path: Path) -> None:
    entries = [*struct.iter_unpack(R.E820_ENTRY, Found(planned(tmp_path)).files["etc/e820"])]
    assert entries == [(0, 64 * MIB, 1), (0xFEFFC000, 0x4000, 2)]


def test_a_machine_with_neither_acpi_nor_a_serial_port_has_only_its_memory_map(tmp_path: Path) -> None:
    assert [*Found(planned(tmp_path, ())).files] == ["etc/e820"]


def linked(files: dict[str, bytes], places: dict[str, int]) -> dict[str, bytearray]:
    """The files as firmware leaves them in memory: the script's steps, as QEMU's documentation of it has them."""
    loaded: dict[str, bytearray] = {}
    script = files["etc/table-loader"]
    assert len(script) % 128 == 0
    for at in range(0, len(script), 128):
        (command,) = struct.unpack_from("<I", script, at)
        if command == 1:
            name, alignment, zone = (
                part(value)
                for part, value in zip((text, int, int), struct.unpack_from("<56sIB", script, at + 4), strict=True)
            )
            assert (places[name] % alignment, zone) == (0, 2 if name == "etc/acpi/rsdp" else 1)
            loaded[name] = bytearray(files[name])
        elif command == 2:
            to, of, offset, size = struct.unpack_from("<56s56sIB", script, at + 4)
            data = loaded[text(to)]
            value = int.from_bytes(data[offset : offset + size], "little") + places[text(of)]
            data[offset : offset + size] = value.to_bytes(size, "little")
        else:
            assert command == 3
            name, offset, start, length = struct.unpack_from("<56sIII", script, at + 4)
            data = loaded[text(name)]
            data[offset] = (data[offset] - sum(data[start : start + length])) & 0xFF
    return loaded


def text(name: bytes) -> str:
    return name.rstrip(b"\0").decode()


def test_the_script_makes_the_tables_that_vmrun_itself_loads(tmp_path: Path) -> None:
    """At the same place: the RSDP first, the tables 64 bytes after it."""
    made = planned(tmp_path)
    place = 0xE0000
    loaded = linked(Found(made).files, {"etc/acpi/rsdp": place, "etc/acpi/tables": place + 64})
    whole = bytes(loaded["etc/acpi/rsdp"]).ljust(64, b"\0") + bytes(loaded["etc/acpi/tables"])
    assert whole == acpi.build(place, made)


@pytest.fixture
def kernel(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "vmlinuz").write_bytes(made.bzimage(b"payload" * 100))
    (tmp_path / "initrd").write_bytes(b"070701" + bytes(4990) + b"end of rd!")
    return {"kernel": tmp_path / "vmlinuz", "initrd": tmp_path / "initrd"}


def test_a_kernel_with_its_initrd_and_command_line(tmp_path: Path, kernel: dict[str, Path]) -> None:
    found = Found(planned(tmp_path, cmdline="console=ttyS0", **kernel))
    image, initrd = kernel["kernel"].read_bytes(), kernel["initrd"].read_bytes()
    size = found.number(R.SETUP_SIZE)
    setup = found.data(R.SETUP)
    assert (len(setup), found.data(R.KERNEL), found.number(R.KERNEL_SIZE)) == (size, image[size:], len(image) - size)
    assert (found.data(R.INITRD), found.number(R.INITRD_SIZE)) == (initrd, len(initrd))
    assert (found.data(R.CMDLINE), found.number(R.CMDLINE_SIZE)) == (b"console=ttyS0\0", 14)
    addresses = [found.number(key) for key in (R.SETUP_ADDRESS, R.CMDLINE_ADDRESS, R.KERNEL_ADDRESS)]
    assert addresses == [0x10000, 0x20000, MIB]
    at = found.number(R.INITRD_ADDRESS)
    assert (at % 4096, at + len(initrd) <= 64 * MIB - (256 << 10)) == (0, True)
    assert struct.unpack_from("<II", setup, 0x218) == (at, len(initrd))
    assert struct.unpack_from("<I", setup, 0x228) == (0x20000,)
    assert struct.unpack_from("<H", setup, 0x224) == (0xFE00,)
    assert (setup[0x210], setup[0x211] & 0x80) == (0xB0, 0x80)
    changed = [at for at, (ours, theirs) in enumerate(zip(setup, image, strict=False)) if ours != theirs]
    assert {*changed} <= {0x210, 0x211, *range(0x218, 0x220), 0x224, 0x225, *range(0x228, 0x22C)}


@pytest.mark.parametrize(("version", "heap"), [(0x0200, False), (0x0201, True)])
def test_setup_code_of_old_protocols(tmp_path: Path, version: int, heap: bool) -> None:
    """Before 2.02 the command line is where two words at its start say (Linux, Documentation/arch/x86/boot.rst), so it
    lies within 64 KiB; the heap came with 2.01."""
    (tmp_path / "old").write_bytes(made.bzimage(version=version))
    found = Found(planned(tmp_path, kernel=tmp_path / "old", cmdline="quiet"))
    setup, distance = found.data(R.SETUP), found.number(R.CMDLINE_ADDRESS) - found.number(R.SETUP_ADDRESS)
    assert (found.number(R.SETUP_ADDRESS), distance, found.number(R.KERNEL_ADDRESS)) == (0x90000, 0xA000 - 6, MIB)
    assert struct.unpack_from("<HH", setup, 0x20) == (0xA33F, distance)
    assert (struct.unpack_from("<H", setup, 0x224), setup[0x228:0x22C]) == (
        (distance - 0x200 if heap else 0,),
        bytes(4),
    )
    assert setup[0x211] == (0x81 if heap else 1)


def test_a_file_system_that_reads_a_part_at_a_time(
    tmp_path: Path, kernel: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, size, at: pread(fd, min(size, 1000), at))
    assert Found(planned(tmp_path, **kernel)).data(R.INITRD) == kernel["initrd"].read_bytes()


def test_a_kernel_alone_has_no_initrd(tmp_path: Path, kernel: dict[str, Path]) -> None:
    found = Found(planned(tmp_path, kernel=kernel["kernel"]))
    assert found.data(R.CMDLINE) == b"\0"
    with pytest.raises(KeyError):
        found.data(R.INITRD)


def test_the_specs_own_files(tmp_path: Path) -> None:
    (tmp_path / "settings").write_bytes(b"verbose")
    file = FirmwareFile("opt/org.example/settings", tmp_path / "settings")
    assert Found(planned(tmp_path, (), files=(file,))).files["opt/org.example/settings"] == b"verbose"
