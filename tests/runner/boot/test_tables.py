"""ACPI and MP tables: checksums, links, content; golden files; and ACPI's own compiler reads them."""

import os
import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from runner.boot import acpi, mptable
from tests.runner.boot import plans
from tests.vmspec.image import images
from vmspec import layout
from vmspec.devices.isa import ACPI, Vmgenid
from vmspec.devices.virtio import VirtioRng
from vmspec.plan.plan import Plan

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def pc(tmp_path: Path) -> Plan:
    return plans.linux(tmp_path, images.elf())


def tables(planned: Plan) -> dict[str, bytes]:
    """The tables by signature, found as an operating system finds them."""
    blob = acpi.build(layout.ACPI, planned)

    def at(address: int) -> bytes:
        start = address - layout.ACPI
        return blob[start : start + int.from_bytes(blob[start + 4 : start + 8], "little")]

    xsdt = at(struct.unpack_from("<Q", blob, 24)[0])
    found = {"RSDP": blob[:36], "RSDT": at(struct.unpack_from("<I", blob, 16)[0]), "XSDT": xsdt}
    for (address,) in struct.iter_unpack("<Q", xsdt[36:]):
        found[at(address)[:4].decode()] = at(address)
    fadt = found["FACP"]
    found["DSDT"] = at(struct.unpack_from("<Q", fadt, 140)[0])
    found["FACS"] = at(struct.unpack_from("<I", fadt, 36)[0])
    return found


@pytest.fixture
def pci(tmp_path: Path) -> Plan:
    """The same with one of the virtio devices on PCI."""
    return plans.linux(tmp_path, images.elf(), devices=(*plans.PC, VirtioRng(transport="pci")))


def test_there_are_all_tables(pc: Plan) -> None:
    assert {name: table[:4] for name, table in tables(pc).items() if name != "RSDP"} == {
        name: name.encode() for name in ("RSDT", "XSDT", "FACP", "APIC", "DSDT", "FACS")
    }


def test_small_kernels_find_the_same_tables(pc: Plan) -> None:
    found = tables(pc)
    narrow = [address for (address,) in struct.iter_unpack("<I", found["RSDT"][36:])]
    assert narrow == [address for (address,) in struct.iter_unpack("<Q", found["XSDT"][36:])]


def test_checksums(pc: Plan) -> None:
    found = tables(pc)
    assert sum(found["RSDP"][:20]) % 256 == 0
    assert all(sum(table) % 256 == 0 for name, table in found.items() if name != "FACS")


def test_root_pointer_is_found_where_systems_look(pc: Plan) -> None:
    assert layout.ACPI % 16 == 0
    assert tables(pc)["RSDP"].startswith(b"RSD PTR ")


def test_facs_is_aligned(pc: Plan) -> None:
    assert struct.unpack_from("<I", tables(pc)["FACP"], 36)[0] % 64 == 0


def test_madt_lists_every_vcpu(pc: Plan) -> None:
    madt = tables(pc)["APIC"]
    assert [madt[44 + 8 * vcpu : 52 + 8 * vcpu].hex() for vcpu in range(2)] == ["0008000001000000", "0008010101000000"]


def test_without_interrupt_controller_there_is_no_madt(tmp_path: Path) -> None:
    planned = plans.linux(tmp_path, images.elf())._replace(irqchip=False)
    assert "APIC" not in tables(planned)


def test_largest_machine_fits(tmp_path: Path) -> None:
    planned = plans.linux(tmp_path, images.elf(), vcpus=254)
    assert len(acpi.build(layout.ACPI, planned)) <= layout.ACPI_SIZE
    assert len(mptable.build(layout.MPTABLE, planned)) <= layout.MPTABLE_SIZE


def test_fadt_says_what_is_not_there(tmp_path: Path) -> None:
    century, arch = struct.unpack_from(
        "<BH", tables(plans.linux(tmp_path, images.elf(), devices=(ACPI(),)))["FACP"], 108
    )
    assert (century, arch) == (0, acpi.LEGACY_DEVICES | acpi.NO_VGA | acpi.NO_CMOS_RTC)


def test_mp_table(pc: Plan) -> None:
    blob = mptable.build(layout.MPTABLE, pc)
    pointer, table = blob[:16], blob[16:]
    assert (pointer[:4], struct.unpack_from("<I", pointer, 4)[0], sum(pointer) % 256) == (
        b"_MP_",
        layout.MPTABLE + 16,
        0,
    )
    length, _, _, *_, count = struct.unpack_from("<HBB8s12sIHH", table, 4)
    assert (table[:4], length, sum(table) % 256) == (b"PCMP", len(table), 0)
    sizes = {0: 20, 1: 8, 2: 8, 3: 8, 4: 8}
    at, kinds = 44, []
    while at < len(table):
        kinds.append(table[at])
        at += sizes[table[at]]
    assert kinds == [0] * 2 + [1, 2] + [3] * 15 + [4] * 2
    assert count == len(kinds)


def dump(data: bytes) -> str:
    return "".join(f"{at:04x}  {data[at : at + 16].hex(' ')}\n" for at in range(0, len(data), 16))


@pytest.mark.parametrize("name", ["acpi", "mptable"])
def test_golden(name: str, pc: Plan) -> None:
    """`VMRUN_GOLDEN=write` rewrites the files."""
    match name:
        case "acpi":
            text = dump(acpi.build(layout.ACPI, pc))
        case _:
            text = dump(mptable.build(layout.MPTABLE, pc))
    if os.environ.get("VMRUN_GOLDEN") == "write":
        (GOLDEN / f"{name}.hex").write_text(text)
    assert text == (GOLDEN / f"{name}.hex").read_text()


@pytest.mark.skipif(shutil.which("iasl") is None, reason="needs iasl, of Debian's acpica-tools")
@pytest.mark.parametrize("name", ["APIC", "DSDT", "FACP", "FACS", "MCFG", "RSDT", "XSDT"])
def test_acpis_own_disassembler_has_nothing_to_say(name: str, pci: Plan, tmp_path: Path) -> None:
    (tmp_path / "table.aml").write_bytes(tables(pci)[name])
    done = subprocess.run(
        ["iasl", "-d", "table.aml"], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )
    text = done.stdout + done.stderr + (tmp_path / "table.dsl").read_text()
    assert not [line for line in text.splitlines() if any(word in line for word in ("Warning", "rror", "nvalid"))]


@pytest.mark.skipif(shutil.which("iasl") is None, reason="needs iasl, of Debian's acpica-tools")
@pytest.mark.parametrize("machine", ["pc", "pci"])
def test_acpis_own_compiler_makes_the_same_dsdt(machine: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    dsdt = tables(request.getfixturevalue(machine))["DSDT"]
    (tmp_path / "dsdt.aml").write_bytes(dsdt)
    for arguments in (["-d", "dsdt.aml"], ["-p", "again", "dsdt.dsl"]):
        subprocess.run(["iasl", *arguments], cwd=tmp_path, capture_output=True, check=True, timeout=60)
    # The header names the compiler; what follows is the code.
    assert (tmp_path / "again.aml").read_bytes()[36:] == dsdt[36:]


def test_virtio_devices_are_in_the_dsdt(pc: Plan) -> None:
    """Each with the id that Linux's driver binds to, its registers and its interrupt (drivers/virtio/virtio_mmio.c)."""
    dsdt = tables(pc)["DSDT"]
    assert dsdt.count(b"_HID\x0dLNRO0005\0") == 2
    for name, address, irq in ((b"VR01", "000000d0", "10"), (b"VR02", "001000d0", "11")):
        device = dsdt[dsdt.index(name) :]
        assert bytes.fromhex(f"86090001{address}00020000 8906000301{irq}000000") in device[:120]


@pytest.mark.skipif(shutil.which("iasl") is None, reason="needs iasl, of Debian's acpica-tools")
def test_acpis_own_disassembler_finds_the_generation_id_and_its_event(tmp_path: Path) -> None:
    """As Linux's drivers look for them (drivers/virt/vmgenid.c, drivers/acpi/evged.c)."""
    planned = plans.linux(tmp_path, images.elf(), devices=(*plans.PC, Vmgenid()))
    device = planned.device("vmgenid")
    assert device is not None
    (tmp_path / "dsdt.aml").write_bytes(tables(planned)["DSDT"])
    subprocess.run(["iasl", "-d", "dsdt.aml"], cwd=tmp_path, capture_output=True, check=True, timeout=60)
    text = " ".join(re.sub("//.*", "", (tmp_path / "dsdt.dsl").read_text()).split())
    generation, event = text[text.index("Device (VGEN)") :].split("Device (GED0)")
    assert 'Name (_HID, "VMGENCTR")' in generation
    assert 'Name (_CID, "VM_Gen_Counter")' in generation
    assert f"Name (ADDR, Package (0x02) {{ 0x{device.regions[0].start:08X}, Zero }})" in generation
    assert 'Name (_HID, "ACPI0013"' in event
    assert f"Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive, ,, ) {{ 0x{device.irq:08X}, }}" in event
    assert "Method (_EVT, 1, Serialized) { Notify (VGEN, 0x80) }" in re.sub(r"/\*.*?\*/ ", "", event)


def test_a_machine_with_pci_has_a_host_bridge_and_says_where_configuration_space_is(pc: Plan, pci: Plan) -> None:
    assert "MCFG" not in tables(pc)
    assert b"PCI0" not in tables(pc)["DSDT"]
    found = tables(pci)
    assert struct.unpack_from("<QHBB", found["MCFG"], 44) == (layout.PCI_ECAM, 0, 0, 0)
    assert sum(found["MCFG"]) % 256 == 0
    assert found["DSDT"].count(b"PCI0") == 1


@pytest.mark.skipif(shutil.which("iasl") is None, reason="needs iasl, of Debian's acpica-tools")
def test_acpis_own_disassembler_finds_the_bridges_windows_and_pins(pci: Plan, tmp_path: Path) -> None:
    (tmp_path / "dsdt.aml").write_bytes(tables(pci)["DSDT"])
    subprocess.run(["iasl", "-d", "dsdt.aml"], cwd=tmp_path, capture_output=True, check=True, timeout=60)
    text = " ".join((tmp_path / "dsdt.dsl").read_text().split())
    bridge = text[text.index("Device (PCI0)") :]
    for object_ in (
        'Name (_HID, EisaId ("PNP0A08")', 'Name (_CID, EisaId ("PNP0A03")', "Name (_UID, Zero)", "Name (_SEG, Zero)",
        "Name (_BBN, Zero)", "Name (_CCA, One)",
    ):  # fmt: skip
        assert object_ in bridge[: bridge.index("_CRS")]
    board = bridge[bridge.index("Device (MB01)") :]
    assert 'Name (_HID, EisaId ("PNP0C02")' in board
    assert "Name (_UID, Zero)" in board
    for range_ in (
        "IO (Decode16, 0x0CF8, // Range Minimum 0x0CF8, // Range Maximum 0x01, // Alignment 0x08, // Length",
        "WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode, 0x0000, // Granularity 0x0000, // Range "
        "Minimum 0x0000, // Range Maximum 0x0000, // Translation Offset 0x0001, // Length",
        "WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange, 0x0000, // Granularity 0xC000,",
        "DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite, 0x00000000, // "
        "Granularity 0xE0000000, // Range Minimum 0xFEBFFFFF, // Range Maximum",
    ):
        assert range_ in bridge
    pins = bridge[bridge.index("_PRT") :]
    assert "Package (0x04) { 0x0001FFFF, Zero, Zero, 0x0A }" in pins
    assert "Method (_OSC, 4, NotSerialized) // _OSC: Operating System Capabilities { Return (Arg3) }" in pins
    assert "Memory32Fixed (ReadWrite, 0xDFF00000, // Address Base 0x00100000, // Address Length" in pins
