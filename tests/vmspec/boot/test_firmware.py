"""Firmware: where it lies, and a message for every file that is none."""

import gzip
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vmspec.image import images
from vmspec.boot import firmware
from vmspec.devices.isa import FwCfg, Python
from vmspec.devices.models import Device
from vmspec.devices.virtio import VirtioRng
from vmspec.plan.calls import SetUserMemoryRegion, Slot
from vmspec.plan.memory_map import slots
from vmspec.plan.plan import Entry, Placement
from vmspec.planner import plan
from vmspec.schema.problems import Problem, SpecError
from vmspec.spec.models import VM, Boot, FirmwareFile, Module, Spec

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
JUMP = b"\xea\x5b\xe0\x00\xf0".ljust(16, b"\0")


def rom(size: int) -> bytes:
    return bytes(size - len(JUMP)) + JUMP


SEABIOS, UEFI = b"SeaBIOS (version 1)".ljust(4096, b"\0") + rom(4096), b"_FVH".ljust(4096, b"\0") + rom(4096)


def spec(folder: Path, data: bytes, devices: tuple[Device, ...] = (), vm: dict[str, object] | None = None,
         **boot: object) -> Spec:  # fmt: skip
    (folder / "rom").write_bytes(data)
    machine = VM(**{"name": "m", "memory": 16 * MIB} | (vm or {}))
    return Spec(vm=machine, boot=Boot(firmware=folder / "rom", **boot), devices=devices)


def problems(made: Spec) -> dict[str, str]:
    with pytest.raises(SpecError) as caught:
        plan(made)
    return {problem.path: problem.message for problem in caught.value.problems}


@pytest.mark.parametrize(
    ("size", "low"),
    [(4 * KIB, 4 * KIB), (256 * KIB, 256 * KIB), (512 * KIB, 256 * KIB), (16 * MIB, 256 * KIB)],
)
def test_it_ends_at_4_gib_and_its_last_part_at_1_mib(tmp_path: Path, size: int, low: int) -> None:
    planned = plan(spec(tmp_path, rom(size)))
    path = tmp_path / "rom"
    assert (planned.image, planned.protocol, planned.entry) == ("firmware", "firmware", Entry("reset", 0xFFF0, {}))
    slot = Slot(1, 4 * GIB - size, size, 0, path, True)
    assert planned.mapped == (slot,)
    assert SetUserMemoryRegion(slot) in planned.calls
    assert planned.placements == (Placement("firmware", MIB - low, low, path, size - low),)
    assert [file.name for file in planned.files] == ["firmware"]
    assert next(area for area in planned.areas if area.name == "rom") == ("rom", "image", 4 * GIB - size, size)
    assert [named.where for named in planned.names] == ["boot.firmware"]


def test_it_finds_a_pc_with_interrupt_controllers(tmp_path: Path) -> None:
    planned = plan(spec(tmp_path, rom(4096), vm={"vcpus": 2}))
    assert (planned.irqchip, planned.pit) == (True, True)
    begun = [call.vcpu for call in planned.calls if call.ioctl == "KVM_SET_REGS"]
    assert begun == [0], "the others wait for INIT"


def test_memory_above_4_gib_begins_after_it(tmp_path: Path) -> None:
    planned = plan(spec(tmp_path, rom(16 * MIB), vm={"memory": 4 * GIB}))
    assert [slot.slot for slot in planned.slots] == [0, 1]
    assert (planned.mapped[0].slot, planned.slots[1].start) == (2, 4 * GIB)


def test_a_device_cannot_have_its_place(tmp_path: Path) -> None:
    device = Python(cls="m:C", mmio=(0xFFFFE000, 16))
    found = problems(spec(tmp_path, rom(8 * KIB), (device,)))
    assert "which rom has (addresses 0xffffe000-0xffffffff)" in found["device[0].mmio"]


WRONG: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "no pages": (rom(4097), "has 4097 bytes; a ROM image has whole 4 KiB pages"),
    "large": (bytes(16 * MIB + 4096), "the room for firmware below 4 GiB is 16MiB"),
    "no code": (b"\xff" * 4096, "last 16 bytes are all 0xff, as in a file with variables of UEFI firmware"),
    "zeros": (bytes(4096), "last 16 bytes are all 0x00"),
    "ELF": (images.elf((MIB, MIB, b"\xf4", 1)), "is an ELF kernel or program, not a ROM image"),
    "bzImage": (images.bzimage(b"payload"), "is a Linux kernel (bzImage), not a ROM image: give it as boot.kernel"),
    "gzip": (gzip.compress(rom(4096)), "unpack it"),
    "qcow2": (b"QFI\xfb" + rom(4096)[4:], "is a qcow2 disk image: make a raw ROM image of it"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_rom_image(tmp_path: Path, kind: str) -> None:
    data, words = WRONG[kind]
    assert words in problems(spec(tmp_path, data))["boot.firmware"]


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    made = spec(tmp_path, b"")
    for path, words in ((tmp_path / "nothing", "cannot be opened: No such file"), (tmp_path, "is a directory")):
        boot = attrs.evolve(made.boot, firmware=path)
        assert words in problems(attrs.evolve(made, boot=boot))["boot.firmware"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mode", "real"), ("load", 0), ("entry", 0), ("registers", {"rax": 1}), ("code", b"\xf4"),
        ("protocol", "pvh"), ("modules", (Module(Path("/m")),)),
        # without boot.kernel
        ("initrd", Path("/i")), ("cmdline", "quiet"),
    ],
)  # fmt: skip
def test_keys_that_make_no_sense_with_it(tmp_path: Path, key: str, value: object) -> None:
    assert f"boot.{key}" in problems(spec(tmp_path, rom(4096), **{key: value}))


def test_it_has_fw_cfg_once(tmp_path: Path) -> None:
    for devices in ((), (FwCfg(),)):
        planned = plan(spec(tmp_path, rom(4096), devices))
        assert [device.name for device in planned.devices] == ["fw-cfg0"]


@pytest.mark.parametrize(("image", "names"), [
    (UEFI, ["pci-host0", "lpc0", "fw-cfg0"]), (SEABIOS, ["fw-cfg0"]), (rom(4096), ["fw-cfg0"]),
])  # fmt: skip
def test_uefi_firmware_finds_the_chipset_that_it_knows(tmp_path: Path, image: bytes, names: list[str]) -> None:
    planned = plan(spec(tmp_path, image))
    assert [device.name for device in planned.devices] == names
    assert planned.e820 == plan(spec(tmp_path, rom(4096))).e820


@pytest.mark.parametrize(("image", "transport", "notes"), [
    (UEFI, "mmio", ('UEFI firmware finds nothing by virtio-mmio: give virtio-rng0, virtio-rng1 transport = "pci"',)),
    (UEFI, "pci", ()), (SEABIOS, "mmio", ()),
])  # fmt: skip
def test_what_uefi_firmware_does_not_find_is_named(
    tmp_path: Path, image: bytes, transport: str, notes: tuple[str, ...]
) -> None:
    devices = (VirtioRng(), VirtioRng())
    assert plan(spec(tmp_path, image, devices, vm={"transport": transport})).notes == notes


def test_virtual_time_has_no_fw_cfg(tmp_path: Path) -> None:
    made = spec(tmp_path, rom(4096), vm={"time": "virtual"})
    assert "fw-cfg" not in [device.kind for device in plan(made).devices]
    boot = attrs.evolve(made.boot, kernel=tmp_path / "rom")
    assert "fw_cfg, whose transfers virtual time" in problems(attrs.evolve(made, boot=boot))["boot.kernel"]
    assert "device[0]" in problems(attrs.evolve(made, devices=(FwCfg(),)))


def test_a_kernel_is_offered_to_it_and_not_loaded(tmp_path: Path) -> None:
    (tmp_path / "vmlinuz").write_bytes(images.bzimage(b"payload" * 100))
    (tmp_path / "initrd").write_bytes(b"070701")
    (tmp_path / "settings").write_bytes(b"x")
    file = FirmwareFile("opt/a", tmp_path / "settings")
    boot = {"kernel": tmp_path / "vmlinuz", "initrd": tmp_path / "initrd", "cmdline": "quiet", "files": (file,)}
    planned = plan(spec(tmp_path, rom(4096), **boot))
    assert [part.name for part in planned.placements] == ["firmware"]
    assert [part.name for part in planned.offered] == ["setup", "cmdline", "kernel", "initrd", "opt/a"]
    assert [part.address for part in planned.offered][:3] == [0x10000, 0x20000, MIB]
    assert [file.name for file in planned.files] == ["firmware", "kernel", "initrd", "files[0]"]


LINUX, IPXE = images.bzimage(), images.bzimage(code32_start=0, relocatable=0, xloadflags=0, payload_length=0)
GENROM = "genroms/linuxboot_dma.bin"


@pytest.mark.parametrize(
    ("image", "kernel", "files", "words"),
    [
        (SEABIOS, LINUX, [GENROM], "SeaBIOS starts boot.kernel by its 16-bit setup code"),
        (SEABIOS, IPXE, [GENROM], "16-bit setup code, the only way: it has no 32-bit entry"),
        (rom(4096), IPXE, [], "the firmware would start boot.kernel by its 16-bit setup code, the only way"),
        (UEFI, b"MZ" + LINUX[2:], [], "the firmware starts boot.kernel as an EFI program"),
    ],
)
def test_how_firmware_starts_a_kernel(
    tmp_path: Path, image: bytes, kernel: bytes, files: list[str], words: str
) -> None:
    (tmp_path / "k").write_bytes(kernel)
    own = tuple(FirmwareFile(name, tmp_path / "rom") for name in files)
    (note,) = plan(spec(tmp_path, image, kernel=tmp_path / "k", files=own)).notes
    assert words in note


@pytest.mark.parametrize(
    ("image", "kernel", "words"),
    [
        (SEABIOS, LINUX, 'with an option ROM, which the spec must name: boot.files = [{ name = "genroms/linuxboot_'),
        (UEFI, LINUX, "by UEFI firmware as an EFI program, which has none: give SeaBIOS"),
        (UEFI, IPXE, "and it has no 32-bit entry: give SeaBIOS"),
    ],
)
def test_a_kernel_that_its_firmware_cannot_start(tmp_path: Path, image: bytes, kernel: bytes, words: str) -> None:
    (tmp_path / "k").write_bytes(kernel)
    own = (FirmwareFile("opt/x", tmp_path / "rom"),)
    assert words in problems(spec(tmp_path, image, kernel=tmp_path / "k", files=own))["boot.kernel"]


def test_a_zimage_and_its_setup_code_lie_below_1_mib(tmp_path: Path) -> None:
    (tmp_path / "k").write_bytes(images.bzimage(loadflags=0))
    planned = plan(spec(tmp_path, rom(4096), kernel=tmp_path / "k", cmdline="quiet"))
    assert [(part.name, part.address) for part in planned.offered] == [
        ("setup", 0x90000), ("cmdline", 0x9A000 - 6), ("kernel", 0x10000),
    ]  # fmt: skip
    (tmp_path / "k").write_bytes(images.bzimage(bytes(0x80001), loadflags=0))
    assert "the room is 524288" in problems(spec(tmp_path, rom(4096), kernel=tmp_path / "k"))["boot.kernel"]


@pytest.mark.parametrize(
    ("fields", "sectors", "cmdline", "words"),
    [
        ({}, 128, "", "has 66048 bytes of setup code, and 65536 are free"),
        ({"loadflags": 0}, 80, "x" * 700, "has 41472 bytes of setup code, and 40259 are free"),
        ({"loadflags": 0, "cmdline_size": 0xFFFF}, 4, "x" * 45_000, "has 2560 bytes of setup code, and 0 are free"),
    ],
)
def test_setup_code_ends_before_the_command_line(
    tmp_path: Path, fields: dict[str, int], sectors: int, cmdline: str, words: str
) -> None:
    kernel = bytearray(images.bzimage(setup_sects=sectors, **fields))
    kernel[images.SETUP_SIZE : images.SETUP_SIZE] = bytes((sectors - images.SETUP_SECTS) * 512)
    (tmp_path / "k").write_bytes(kernel)
    found = problems(spec(tmp_path, rom(4096), kernel=tmp_path / "k", cmdline=cmdline))
    assert words in found["boot.kernel"]


@pytest.mark.parametrize(("kernel", "accepted"), [(IPXE, True), (LINUX, False)])
def test_only_linux_needs_an_initrd_that_linux_can_use(tmp_path: Path, kernel: bytes, accepted: bool) -> None:
    (tmp_path / "k").write_bytes(kernel)
    (tmp_path / "script").write_text("#!ipxe\nshell\n")
    made = spec(tmp_path, rom(4096), kernel=tmp_path / "k", initrd=tmp_path / "script")
    if accepted:
        assert plan(made).offered[-1].name == "initrd"
    else:
        assert "is a script, not an initrd" in problems(made)["boot.initrd"]


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("kernel", "rom", "is no bzImage of Linux (vmlinuz)"),
        ("kernel", "none", "cannot be opened"),
        ("files", "none", "cannot be opened"),
        ("files", "empty", "is empty"),
    ],
)
def test_what_cannot_be_offered(tmp_path: Path, key: str, value: str, words: str) -> None:
    (tmp_path / "empty").touch()
    path = tmp_path / value
    found = problems(spec(tmp_path, rom(4096), **{key: (FirmwareFile("a", path),) if key == "files" else path}))
    assert words in found["boot.files[0].path" if key == "files" else "boot.kernel"]


def test_only_firmware_finds_files(tmp_path: Path) -> None:
    made = Spec(vm=VM(name="m"), boot=Boot(code=b"\xf4", mode="real", files=(FirmwareFile("a", tmp_path),)))
    assert problems(made) == {"boot.files": "are for firmware, which finds them in fw_cfg: give boot.firmware"}


def test_several_vcpus_need_interrupt_controllers(tmp_path: Path) -> None:
    found = problems(spec(tmp_path, rom(4096), vm={"vcpus": 2, "irqchip": "none"}))
    assert "firmware starts the other vCPUs" in found["vm.irqchip"]
    plan(spec(tmp_path, rom(4096), vm={"irqchip": "none"}))


@given(
    st.binary(max_size=64),
    st.integers(0, 3).map(lambda pages: pages * 4096) | st.integers(0, 9000),
    st.binary(max_size=64),
)
def test_any_file_is_a_rom_image_or_a_problem(
    tmp_path_factory: pytest.TempPathFactory, head: bytes, size: int, tail: bytes
) -> None:
    made = spec(tmp_path_factory.getbasetemp(), head + bytes(max(0, size - len(head) - len(tail))) + tail)
    found: list[Problem] = []
    start = firmware.start(made, tmp_path_factory.getbasetemp() / "rom", slots(16 * MIB), found)
    if start is None:
        assert [problem.path for problem in found] == ["boot.firmware"]
    else:
        assert (start.mapped[0].start + start.mapped[0].size, found) == (4 * GIB, [])
