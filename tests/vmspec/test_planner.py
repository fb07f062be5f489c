import gzip
import itertools
import json
import os
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vmspec import specs
from tests.vmspec.image import images
from vmspec import layout
from vmspec.devices.isa import ACPI, I8042, LPC, RTC, DebugExit, PCIHost, Python, Serial
from vmspec.devices.net import VirtioNet
from vmspec.devices.regions import Region
from vmspec.devices.virtio import VirtioBalloon, VirtioRng, VirtioVsock
from vmspec.plan.plan import E820, Area, Plan
from vmspec.plan.serial import tree
from vmspec.planner import plan
from vmspec.schema.problems import Problem, SpecError
from vmspec.spec.expect import Expect
from vmspec.spec.models import CPU, VM, Boot, Spec

GOLDEN = Path(__file__).parent / "golden"
HLT = b"\xf4"
PC = (Serial(), I8042(), RTC(), ACPI())


def flat(code: bytes = HLT, mode: str = "real", memory: int = layout.MIB, **boot: object) -> Spec:
    return Spec(vm=VM(name="flat", memory=memory), boot=Boot(code=code, mode=mode, **boot))


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with images; the cache is there too."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "bzimage").write_bytes(images.bzimage(images.gzipped(images.elf())))
    (tmp_path / "vmlinux").write_bytes(images.elf())
    (tmp_path / "initrd").write_bytes(b"070701" + bytes(5000))
    return tmp_path


def linux(kernel: Path, memory: int = 64 << 20, vcpus: int = 1, devices: tuple = PC, **boot: object) -> Spec:
    vm = VM(name="linux", memory=memory, vcpus=vcpus)
    return Spec(vm=vm, boot=Boot(kernel=kernel, **boot), devices=devices)


def python(**where: object) -> Python:
    return Python(cls="module:Class", **where)


def problems(spec: Spec) -> dict[str, str]:
    """The problems of a spec that cannot be planned, by path."""
    with pytest.raises(SpecError) as error:
        plan(spec)
    return {problem.path: problem.message for problem in error.value.problems}


def placed(spec: Plan) -> dict[str, tuple[int, int]]:
    return {part.name: (part.address, part.size) for part in spec.placements}


# Flat guests


def test_flat_guest_starts_at_its_load_address_with_its_stack_below() -> None:
    entry = plan(flat()).entry
    assert (entry.mode, entry.rip, entry.registers) == ("real", 0x1000, {"rsp": 0x1000, "rflags": 2})


def test_flat_guest_with_everything_given() -> None:
    planned = plan(flat(mode="long", load=0x2000, entry=0x2001, registers={"rax": 1, "rsp": 0x9000, "rflags": 0x200}))
    assert planned.entry.rip == 0x2001
    assert planned.entry.registers == {"rax": 1, "rsp": 0x9000, "rflags": 0x202}
    assert set(placed(planned)) == {"code", "gdt", "page-tables"}


def test_flat_guest_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "code").write_bytes(b"\x90" * 100 + HLT)
    planned = plan(Spec(vm=VM(name="f"), boot=Boot(kernel=tmp_path / "code", mode="protected")))
    assert placed(planned)["code"] == (0x1000, 101)


@pytest.mark.parametrize(
    ("spec", "path", "message"),
    [
        (flat(mode=None), "boot.mode", "must be given"),
        (flat(mode="protected", load=layout.MIB), "boot.load", "does not lie in RAM"),
        (flat(bytes(layout.MIB)), "boot.code", "does not lie in RAM"),
        (flat(bytes(8), "long", load=layout.MIB - 4), "boot.load", "does not lie in RAM"),
        (flat(entry=0x10000), "boot.entry", "starts below 0x10000"),
        (flat(load=0x20000), "boot.load", "starts below 0x10000"),
        (flat(mode="long", entry=layout.GIB), "boot.entry", "is not RAM"),
        (flat(mode="long", memory=5 * layout.GIB, load=layout.HOLE_END), "boot.load", "starts below 0x100000000"),
        (flat(mode="protected", load=0x500), "boot.load", "overlaps the gdt"),
        (flat(bytes(0x90000), mode="long"), "boot.code", "overlaps the page-tables"),
        (flat(mode="long", memory=0x10000), "vm.memory", "page-tables"),
        (flat(initrd=Path("/initrd")), "boot.initrd", "for kernels"),
        (flat(cmdline="quiet"), "boot.cmdline", "for kernels"),
        (flat(kernel=Path("/bzimage")), "boot.code", "combined with boot.kernel"),
        (Spec(vm=VM(name="empty"), boot=Boot()), "boot", "nothing to start"),
        (Spec(vm=VM(name="none"), boot=Boot(kernel=Path("/none"))), "boot.kernel", "No such file"),
        (flat(memory=1000), "vm.memory", "not a valid memory size"),
        (Spec(vm=VM(name="many", vcpus=255), boot=Boot(code=HLT, mode="real")), "vm.vcpus", "valid number of vCPUs"),
        (attrs.evolve(flat(), vm=VM(name="pit", pit=True)), "vm.pit", "vm.irqchip must be kernel"),
        (attrs.evolve(flat(), cpu=CPU(disable=("avx2", "axv"))), "cpu.disable[1]", "is not a CPU feature"),
    ],
)
def test_flat_problems(spec: Spec, path: str, message: str) -> None:
    assert message in problems(spec)[path]


def test_symbols_that_are_not_there(tmp_path: Path) -> None:
    assert problems(flat(symbols=tmp_path / "map")) == {"boot.symbols": "cannot be opened: No such file or directory"}


def test_a_halt_that_cannot_end_the_machine() -> None:
    spec = attrs.evolve(flat(), expect=Expect(exit=("halt",)))
    assert problems(attrs.evolve(spec, vm=attrs.evolve(spec.vm, irqchip="kernel"))).keys() == {"expect.exit"}
    plan(spec)
    plan(attrs.evolve(spec, vm=attrs.evolve(spec.vm, irqchip="kernel"), expect=Expect(exit=("halt", "timeout"))))


def test_file_that_is_no_kernel_needs_a_mode(tmp_path: Path) -> None:
    (tmp_path / "code").write_bytes(HLT)
    spec = Spec(vm=VM(name="f"), boot=Boot(kernel=tmp_path / "code"))
    assert "not a known kernel" in problems(spec)["boot.kernel"]


def test_feature_gets_its_nearest_name() -> None:
    with pytest.raises(SpecError) as error:
        plan(attrs.evolve(flat(), cpu=CPU(disable=("avx51f",))))
    assert error.value.problems[0].nearest == "avx512f"


# Linux


def test_bzimage_is_unpacked_and_its_elf_entered(files: Path) -> None:
    planned = plan(linux(files / "bzimage"))
    assert (planned.image, planned.protocol, planned.entry.rip) == ("bzimage", "elf64", 0x1000000)
    assert planned.entry.registers["rsi"] == layout.BOOT_PARAMS
    parameters = planned.placement("boot_params")
    assert parameters is not None
    assert (parameters.path, parameters.offset) == (files / "bzimage", 0x1F1)


def test_a_compressed_kernel_starts_as_it_does_by_itself(files: Path) -> None:
    (files / "vmlinux.gz").write_bytes(gzip.compress(images.elf()))
    found, plain = plan(linux(files / "vmlinux.gz")), plan(linux(files / "vmlinux"))
    assert placed(found) == placed(plain)
    assert found.notes == ("boot.kernel is a gzip file; of it: kernel",)
    assert [(file.name, file.version is None) for file in found.files] == [("kernel", False), ("unwrapped", True)]


UKI = {"linux": images.bzimage(images.gzipped(images.elf())), "initrd": b"070701" + bytes(5000), "cmdline": b"quiet"}


def test_a_unified_kernel_image_gives_kernel_initrd_and_command_line(files: Path) -> None:
    (files / "uki").write_bytes(images.uki(**UKI))
    found = plan(linux(files / "uki"))
    assert placed(found) == placed(plan(linux(files / "bzimage", initrd=files / "initrd", cmdline="quiet")))
    assert (found.cmdline, found.protocol) == ("quiet", "elf64")
    assert found.notes == ("boot.kernel is a unified kernel image; of it: kernel, initrd, command line",)
    made = [file.name for file in found.files if file.version is None]
    assert made == ["unwrapped", "unwrapped-initrd", "unpacked"]


def test_the_specs_own_initrd_and_command_line_take_precedence(files: Path) -> None:
    (files / "uki").write_bytes(images.uki(**UKI))
    (files / "other").write_bytes(b"070701" + bytes(9000))
    found = plan(linux(files / "uki", initrd=files / "other", cmdline="debug"))
    assert placed(found) == placed(plan(linux(files / "bzimage", initrd=files / "other", cmdline="debug")))
    assert found.notes == ("boot.kernel is a unified kernel image; of it: kernel",)


def test_a_problem_of_a_kernel_within_names_the_file_of_the_spec(files: Path) -> None:
    (files / "kernel").write_bytes(images.uki(linux=images.elf32()))
    with pytest.raises(SpecError) as error:
        plan(linux(files / "kernel"))
    [problem] = error.value.problems
    assert problem.message.startswith("is a unified kernel image; the kernel in it is a 32-bit ELF file with neither")
    assert problem.value == str(files / "kernel")


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (
            {"cmdline": b"a" * 3000},
            "the command line in it has 3000 bytes; this kernel takes 2047; boot.cmdline replaces it",
        ),
        ({"initrd": b"070701" + bytes(64 << 20)}, "the initrd in it does not fit: "),
    ],
)
def test_a_problem_of_another_part_names_the_file_unless_the_spec_gives_the_part(files: Path, part, message) -> None:
    (files / "uki").write_bytes(images.uki(**UKI | part))
    with pytest.raises(SpecError) as error:
        plan(linux(files / "uki"))
    [problem] = error.value.problems
    assert (problem.path, problem.value) == ("boot.kernel", str(files / "uki"))
    assert problem.message.startswith(f"is a unified kernel image; {message}")
    plan(linux(files / "uki", initrd=files / "initrd", cmdline="quiet"))
    with pytest.raises(SpecError) as error:
        plan(linux(files / "uki", initrd=files / "initrd", cmdline="b" * 3000))
    assert [problem.path for problem in error.value.problems] == ["boot.cmdline"]


def test_bzimage_that_unpacks_itself(files: Path) -> None:
    planned = plan(linux(files / "bzimage", unpack=False))
    assert (planned.protocol, planned.entry.mode, planned.entry.rip) == ("linux64", "long", 0x1000200)
    assert planned.notes == ()


def test_bzimage_that_cannot_be_unpacked_says_so(files: Path) -> None:
    (files / "bzimage").write_bytes(images.bzimage(b"LZO?" + bytes(60)[:-4] + b"\x10\0\0\0"))
    planned = plan(linux(files / "bzimage"))
    assert planned.protocol == "linux64"
    assert "the kernel unpacks itself" in planned.notes[0]


def test_bzimage_without_64_bit_entry_starts_in_protected_mode(files: Path) -> None:
    (files / "bzimage").write_bytes(images.bzimage(xloadflags=0))
    planned = plan(linux(files / "bzimage", unpack=False))
    assert (planned.protocol, planned.entry.mode, planned.entry.rip) == ("linux32", "protected", 0x1000000)
    assert "page-tables" not in placed(planned)


def test_bzimage_that_is_not_relocatable_is_loaded_at_1_mib(files: Path) -> None:
    (files / "bzimage").write_bytes(images.bzimage(relocatable=0, xloadflags=0))
    kernel = plan(linux(files / "bzimage", unpack=False)).placement("kernel")
    assert kernel is not None
    assert kernel.address == layout.MIB
    assert kernel.address + kernel.size + kernel.zero == 0x1000000 + 0x800000


def test_bzimage_that_starts_through_its_setup_code(files: Path) -> None:
    (files / "bzimage").write_bytes(images.bzimage(relocatable=0, xloadflags=0, code32_start=0))
    assert "16-bit setup code" in problems(linux(files / "bzimage", unpack=False))["boot.kernel"]


def test_initrd_lies_at_the_end_of_ram(files: Path) -> None:
    assert placed(plan(linux(files / "vmlinux", initrd=files / "initrd")))["initrd"] == ((64 << 20) - 0x2000, 5006)


def test_initrd_lies_below_the_kernels_limit(files: Path) -> None:
    (files / "bzimage").write_bytes(images.bzimage(initrd_addr_max=0x1FFFFFF))
    planned = plan(linux(files / "bzimage", initrd=files / "initrd", unpack=False))
    assert placed(planned)["initrd"][0] == 0x2000000 - 0x2000


def test_initrd_lies_below_the_hole(files: Path) -> None:
    (files / "bzimage").write_bytes(images.bzimage(initrd_addr_max=0xFFFFFFFF))
    planned = plan(linux(files / "bzimage", 8 * layout.GIB, initrd=files / "initrd", unpack=False))
    assert placed(planned)["initrd"][0] == layout.HOLE_START - 0x2000


def test_initrd_that_does_not_fit(files: Path) -> None:
    os.truncate(files / "initrd", 60 << 20)
    assert (
        f"it has {60 << 20} bytes, and {0x4000000 - 0x1002000} are free"
        in problems(linux(files / "vmlinux", initrd=files / "initrd"))["boot.initrd"]
    )


def test_kernel_that_does_not_fit(files: Path) -> None:
    assert "needs 24 MiB" in problems(linux(files / "bzimage", 16 << 20, unpack=False))["vm.memory"]


def test_longest_command_line(files: Path) -> None:
    assert placed(plan(linux(files / "vmlinux", cmdline="c" * 2047)))["cmdline"] == (layout.CMDLINE, 2048)


@pytest.mark.parametrize(
    ("boot", "path", "message"),
    [
        ({"cmdline": "c" * 2048}, "boot.cmdline", "has 2048 bytes; this kernel takes 2047"),
        ({"cmdline": "é" * 1024}, "boot.cmdline", "has 2048 bytes"),
        ({"cmdline": "a\0b"}, "boot.cmdline", "NUL"),
        ({"mode": "long"}, "boot.mode", "flat guests"),
        ({"load": 0}, "boot.load", "flat guests"),
        ({"registers": {"rax": 1}}, "boot.registers", "flat guests"),
        ({"initrd": Path("/none")}, "boot.initrd", "No such file"),
        ({"initrd": Path("/")}, "boot.initrd", "is a directory"),
    ],
)
def test_linux_problems(boot: dict[str, object], path: str, message: str, files: Path) -> None:
    assert message in problems(linux(files / "vmlinux", **boot))[path]


def test_kernel_given_as_initrd(files: Path) -> None:
    assert "not an initrd" in problems(linux(files / "vmlinux", initrd=files / "bzimage"))["boot.initrd"]


def test_damaged_payload_is_a_problem_of_the_kernel(files: Path) -> None:
    data = bytearray((files / "bzimage").read_bytes())
    data[images.SETUP_SIZE + images.PAYLOAD_AT + 12] ^= 0xFF
    (files / "bzimage").write_bytes(data)
    assert "damaged" in problems(linux(files / "bzimage"))["boot.kernel"]


def test_all_problems_at_once(files: Path) -> None:
    found = problems(
        linux(files / "vmlinux", cmdline="c" * 3000, mode="real", initrd=Path("/none"), devices=(Serial(), Serial()))
    )
    assert set(found) == {"boot.cmdline", "boot.mode", "boot.initrd", "device[1].com"}


def test_memory_map_of_linux_over_the_hole(files: Path) -> None:
    entries = [(entry.start, entry.size, entry.type) for entry in plan(linux(files / "vmlinux", 4 << 30)).e820]
    assert entries == [
        (0, 0x9FC00, 1),
        (0x9FC00, 0x400, 2),
        (0xE0000, 0x20000, 2),
        (0x100000, (3 << 30) - 0x100000, 1),
        (0xFEFFC000, 0x4000, 2),
        (4 << 30, 1 << 30, 1),
    ]


# Devices


def test_names_count_within_a_kind() -> None:
    planned = plan(attrs.evolve(flat(), devices=(Serial(), RTC(), Serial(com=2))))
    assert [device.name for device in planned.devices] == ["serial0", "rtc0", "serial1"]


@pytest.mark.parametrize(
    ("devices", "irqchip", "path", "names"),
    [
        ((Serial(), Serial()), "none", "device[1].com", ("serial1", "serial0")),
        ((Serial(), Serial(com=3)), "none", "device[1].com", ("serial1", "serial0", "IRQ 4")),
        ((python(port=(0x3F0, 16)), Serial()), "none", "device[1].com", ("serial0", "python0", "0x3f0-0x3ff")),
        ((Serial(), python(port=(0x3F0, 16))), "none", "device[1].port", ("serial0", "python0")),
        ((python(port=(0xF7, 1)), DebugExit()), "none", "device[1].port", ("debug-exit0", "python0", "0xf4-0xf7")),
        ((python(mmio=(0xFFFFF, 4)),), "none", "device[0].mmio", ("python0", "RAM")),
        ((python(mmio=(0xFEFFD000, 4)),), "none", "device[0].mmio", ("python0", "kvm-tss")),
        ((python(mmio=(0xFEC00000, 4)),), "kernel", "device[0].mmio", ("python0", "ioapic")),
        ((python(port=(0x20, 2)),), "kernel", "device[0].port", ("python0", "interrupt controller")),
        ((python(port=(0x61, 1)),), "kernel", "device[0].port", ("python0", "timer")),
        ((python(port=(0x100, 1), irq=0),), "kernel", "device[0].irq", ("python0", "timer")),
        ((python(port=(0x100, 1), irq=2),), "kernel", "device[0].irq", ("python0", "cascade")),
        ((python(port=(0x100, 1), irq=8), RTC()), "kernel", "device[1]", ("python0", "rtc0", "IRQ 8")),
        ((python(port=(0xFFFF, 2)),), "none", "device[0].port", ("not a range",)),
        ((python(port=(0, 1), irq=24),), "none", "device[0].irq", ("no such interrupt",)),
    ],
)
def test_collisions(devices: tuple, irqchip: str, path: str, names: tuple[str, ...]) -> None:
    spec = attrs.evolve(flat(), vm=VM(name="f", memory=layout.MIB, irqchip=irqchip), devices=devices)
    message = problems(spec)[path]
    assert all(name in message for name in names)


def test_without_the_interrupt_controller_its_place_is_free() -> None:
    devices = (python(mmio=(layout.IOAPIC, 4096)), python(port=(0x20, 2)))
    assert len(plan(attrs.evolve(flat(), devices=devices)).devices) == 2


def virtio(planned: Plan) -> list[tuple]:
    found = [device for device in planned.devices if device.transport == "mmio"]
    return [(device.name, device.irq, device.regions[0].start, device.regions[0].size) for device in found]


def test_virtio_devices_get_places_and_interrupts_in_turn(files: Path) -> None:
    planned = plan(linux(files / "vmlinux", devices=(VirtioRng(), *PC, VirtioRng())))
    assert virtio(planned) == [("virtio-rng0", 16, 0xD0000000, 0x200), ("virtio-rng1", 17, 0xD0001000, 0x200)]


def test_a_virtio_device_gets_no_interrupt_that_another_device_has(files: Path) -> None:
    cards = [python(port=(0x300 + 8 * number, 8), irq=irq) for number, irq in enumerate((16, 5, 18))]
    planned = plan(linux(files / "vmlinux", devices=(*(VirtioRng() for _ in range(7)), *cards, *PC)))
    assert [device[1] for device in virtio(planned)] == [17, 19, 20, 21, 22, 23, 10]


def test_there_are_no_more_virtio_devices_than_interrupts(files: Path) -> None:
    assert len(virtio(plan(linux(files / "vmlinux", devices=(*PC, *(VirtioRng() for _ in range(16))))))) == 16
    found = problems(linux(files / "vmlinux", devices=(*PC, *(VirtioRng() for _ in range(18)))))
    advice = "leave out a device, or connect a virtio device by pci"
    assert found == {
        f"device[{number + 4}]": f"no interrupt is left for virtio-rng{number}: {advice}" for number in (16, 17)
    }


def test_a_card_where_a_virtio_device_is(files: Path) -> None:
    found = problems(linux(files / "vmlinux", devices=(VirtioRng(), python(mmio=(0xD0000100, 4)))))
    assert found == {
        "device[1].mmio": "python0 claims addresses 0xd0000100-0xd0000103, which virtio-rng0 has "
        "(addresses 0xd0000000-0xd00001ff)"
    }


def test_a_balloon_leaves_the_guest_some_memory(files: Path) -> None:
    plan(linux(files / "vmlinux", devices=(*PC, VirtioBalloon(size=63 << 20))))
    for size in (64 << 20, 1 << 40):
        found = problems(linux(files / "vmlinux", devices=(*PC, VirtioBalloon(size=size))))
        assert found == {f"device[{len(PC)}].size": "vm.memory is 64MiB, and the guest needs some of it"}


# PCI


def test_a_machine_without_pci_has_no_host_bridge(files: Path) -> None:
    planned = plan(linux(files / "vmlinux", devices=(VirtioRng(), *PC)))
    assert planned.device("pci-host") is None
    assert layout.PCI_ECAM not in [entry.start for entry in planned.e820]


def on_pci(planned: Plan) -> list[tuple]:
    return [(device.name, device.irq, device.bars, device.regions) for device in planned.devices if device.bars]


def test_a_transport_is_for_all_devices_or_for_one(files: Path) -> None:
    rngs = VirtioRng(), VirtioRng(transport="mmio"), VirtioRng(transport="pci")
    spec = linux(files / "vmlinux", devices=(*rngs, *PC))
    assert [device.transport for device in plan(spec).devices[:3]] == ["mmio", "mmio", "pci"]
    spec = attrs.evolve(spec, vm=attrs.evolve(spec.vm, transport="pci"))
    planned = plan(spec)
    assert [device.transport for device in planned.devices[:3]] == ["pci", "mmio", "pci"]
    assert all("transport" not in device.options for device in planned.devices)


def test_functions_get_numbers_places_and_interrupts_in_turn(files: Path) -> None:
    planned = plan(linux(files / "vmlinux", devices=(VirtioRng(transport="pci"), *PC, VirtioRng(transport="pci"))))
    assert on_pci(planned) == [
        (
            f"virtio-rng{number}",
            irq,
            (layout.PCI_MEMORY + 0x8000 * number,),
            (Region("registers", "mmio", 0x8000), Region("configuration", "pci", 256, 1 + number << 15)),
        )
        for number, irq in ((0, 10), (1, 11))
    ]
    assert planned.devices[-1].name == "pci-host0"
    assert E820(layout.PCI_ECAM, layout.PCI_ECAM_SIZE, 2) in planned.e820
    assert [entry.start for entry in planned.e820] == sorted(entry.start for entry in planned.e820)
    assert ("pci memory", layout.PCI_MEMORY) in [(area.name, area.start) for area in planned.areas]


def test_there_are_at_most_31_functions_and_some_have_no_pin(files: Path) -> None:
    planned = plan(linux(files / "vmlinux", devices=(*PC, *(VirtioRng(transport="pci") for _ in range(31)))))
    assert [device[1] for device in on_pci(planned)].count(None) == 31 - len(layout.PCI_IRQS)
    found = problems(linux(files / "vmlinux", devices=(*PC, *(VirtioRng(transport="pci") for _ in range(32)))))
    assert found == {f"device[{31 + len(PC)}]": "the PCI bus has no place left for virtio-rng31: leave out a device"}


def test_a_spec_may_have_an_empty_bus(files: Path) -> None:
    planned = plan(linux(files / "vmlinux", devices=(PCIHost(), *PC, VirtioRng(transport="pci"))))
    assert [device.name for device in planned.devices if device.kind == "pci-host"] == ["pci-host0"]
    assert planned.devices[0].name == "pci-host0"
    found = problems(linux(files / "vmlinux", devices=(PCIHost(), *PC, PCIHost())))
    assert set(found) == {f"device[{1 + len(PC)}]"}


@pytest.mark.parametrize(
    ("memory", "low"), [(64 << 20, 0x80000000), (2 << 30, 0x80000000), (5 << 29, 0xA0000000), (8 << 30, 0xC0000000)]
)
@pytest.mark.parametrize("chosen", [PCIHost(chipset="q35"), LPC()])
def test_the_chipset_q35_has_its_places(files: Path, chosen: Any, memory: int, low: int) -> None:
    spec = linux(files / "vmlinux", devices=(chosen, VirtioRng(transport="pci"), *PC))
    planned = plan(attrs.evolve(spec, vm=attrs.evolve(spec.vm, memory=memory)))
    bridge, lpc = planned.device("pci-host"), planned.device("lpc")
    assert bridge is not None
    assert lpc is not None
    assert bridge.options == {"chipset": "q35"}
    assert Region("ecam", "mmio", 256 << 20, 0xE0000000) in bridge.regions
    assert lpc.regions == (Region("configuration", "pci", 256, 31 << 15), Region("timer", "port", 4, 0x608))
    assert [device.bars for device in planned.devices if device.bars] == [(low,)]
    assert Area("pci memory", "mmio", low, 0xD0000000 - low) in planned.areas
    assert not any(entry.start <= 0xE0000000 < entry.start + entry.size for entry in planned.e820)


def test_the_chipset_q35_has_one_function_more(files: Path) -> None:
    rngs = [VirtioRng(transport="pci") for _ in range(31)]
    plan(linux(files / "vmlinux", devices=(LPC(), *rngs[:30])))
    found = problems(linux(files / "vmlinux", devices=(LPC(), *rngs)))
    assert found == {"device[31]": "the PCI bus has no place left for virtio-rng30: leave out a device"}


def test_without_a_chipset_there_is_no_lpc_bridge(files: Path) -> None:
    planned = plan(linux(files / "vmlinux", devices=(PCIHost(), *PC)))
    bridge = planned.device("pci-host")
    assert bridge is not None
    assert (bridge.options, planned.device("lpc")) == ({"chipset": "none"}, None)
    found = problems(linux(files / "vmlinux", devices=(PCIHost(chipset="none"), LPC(), *PC)))
    assert found == {"device[1]": "belongs to the chipset q35, and device[0].chipset is none: leave it out"}


@pytest.mark.parametrize(
    ("card", "claim"),
    [
        ({"mmio": (0xE0000000, 4)}, "addresses 0xe0000000-0xe0000003"),
        ({"mmio": (0xDFF00000, 4)}, "addresses 0xdff00000-0xdff00003"),
        ({"port": (0xCF8, 1)}, "port 0xcf8"),
        ({"port": (0xC100, 8)}, "ports 0xc100-0xc107"),
    ],
)
def test_a_card_where_pci_is(files: Path, card: dict, claim: str) -> None:
    found = problems(linux(files / "vmlinux", devices=(python(**card), VirtioRng(transport="pci"))))
    (key,) = card
    assert list(found) == [f"device[0].{key}"]
    assert found[f"device[0].{key}"].startswith(f"python0 claims {claim}, which pci-host0 has")
    plan(linux(files / "vmlinux", devices=(python(**card), *PC, VirtioRng())))


def addresses(planned: Plan) -> list[str]:
    return [device.options["mac"] for device in planned.devices if device.kind == "virtio-net"]


def test_a_network_device_has_the_same_address_in_each_run(files: Path) -> None:
    cards = (VirtioNet(tap="a"), VirtioNet(tap="b", mac="52:54:00:12:34:56"), VirtioNet(tap="c"))
    first, given, third = addresses(plan(linux(files / "vmlinux", devices=(*PC, *cards))))
    assert (given, len({first, third})) == ("52:54:00:12:34:56", 2)
    assert [int(mac[:2], 16) & 3 for mac in (first, third)] == [2, 2]  # local, of one interface
    assert addresses(plan(linux(files / "vmlinux", devices=(VirtioRng(), *PC, *cards)))) == [first, given, third]
    other = attrs.evolve(linux(files / "vmlinux", devices=cards), vm=VM(name="other"))
    assert not {first, third} & set(addresses(plan(other)))


def test_an_address_that_two_network_devices_have(files: Path) -> None:
    [first] = addresses(plan(linux(files / "vmlinux", devices=(VirtioNet(tap="a"),))))
    found = problems(linux(files / "vmlinux", devices=(VirtioNet(tap="a"), VirtioNet(tap="b", mac=first))))
    assert found == {"device[1].mac": f"virtio-net0 has the address {first} too"}


def test_what_only_one_network_device_can_have(files: Path) -> None:
    forwards = (
        "tcp:127.0.0.1:80:80",
        "udp:127.0.0.1:80:80",
        "tcp:127.0.0.2:80:80",
        "tcp:0.0.0.0:80:8",
        "tcp:0.0.0.0:8:8",
    )
    cards = [VirtioNet(tap="a"), VirtioNet(tap="vm%d"), VirtioNet(tap="a"), VirtioNet(tap="vm%d")]
    cards += [VirtioNet(forward=forwards), VirtioNet(forward=("tcp:127.0.0.1:8:8", "tcp:127.0.0.1:9:8"))]
    assert problems(linux(files / "vmlinux", devices=(*cards, *PC))) == {
        "device[2].tap": "virtio-net0 has the tap a too",
        "device[4].forward[3]": "virtio-net4 forwards tcp port 80 of 127.0.0.1 already",
        "device[5].forward[0]": "virtio-net4 forwards tcp port 8 of 0.0.0.0 already",
    }


# The calls


def test_second_vcpu_waits_for_the_guest_where_there_are_local_apics(files: Path) -> None:
    calls = plan(linux(files / "vmlinux", vcpus=2)).calls
    assert [call.ioctl for call in calls if getattr(call, "vcpu", None) == 1] == [
        "KVM_CREATE_VCPU",
        "KVM_SET_CPUID2",
        "KVM_SET_LAPIC",
        "KVM_RUN",
    ]


def test_second_vcpu_starts_at_the_entry_without_local_apics() -> None:
    calls = plan(attrs.evolve(flat(), vm=VM(name="f", vcpus=2))).calls
    assert [call.ioctl for call in calls if getattr(call, "vcpu", None) == 1] == [
        "KVM_CREATE_VCPU",
        "KVM_SET_CPUID2",
        "KVM_SET_SREGS",
        "KVM_SET_REGS",
        "KVM_RUN",
    ]


# Properties


@st.composite
def machines(draw: st.DrawFn) -> Spec:
    """Machines of all sizes with devices of all kinds."""
    edges = [1 << 20, 3 << 30, (3 << 30) - 4096, (3 << 30) + 4096, 4 << 30, 64 << 30]
    memory = draw(st.sampled_from(edges) | st.integers(256, 1 << 24).map(lambda pages: pages * 4096))
    vm = VM(
        name="m",
        memory=memory,
        vcpus=draw(st.integers(1, 8)),
        irqchip=draw(st.sampled_from(["auto", "kernel", "none"])),
    )
    mode = draw(st.sampled_from(["real", "protected", "long"]))
    boot = Boot(code=draw(st.binary(min_size=1, max_size=64)), mode=mode, load=draw(st.integers(0, 0xFFFF) | st.none()))
    kinds = st.one_of(*specs.devices.values())
    return Spec(vm=vm, boot=boot, devices=tuple(draw(st.lists(kinds, max_size=6))))


def disjoint(ranges: list[tuple[int, int]]) -> bool:
    ordered = sorted(ranges)
    return all(start + size <= following for (start, size), (following, _) in itertools.pairwise(ordered))


def check(planned: Plan) -> None:
    """What holds for every plan."""
    ram = [(slot.start, slot.size) for slot in planned.slots]
    parts = [(part.address, part.size + part.zero) for part in planned.placements]
    regions = [region for device in planned.devices for region in device.regions]
    mmio = [(at.start, at.size) for at in regions if at.space == "mmio" and at.start is not None]
    ports = [(at.start, at.size) for at in regions if at.space == "port" and at.start is not None]
    irqs = [device.irq for device in planned.devices if device.irq is not None]
    assert disjoint(ram)
    assert sum(size for _, size in ram) == planned.vm.memory
    assert all(start + size <= 3 << 30 or start >= 4 << 30 for start, size in ram)
    assert [slot.offset for slot in planned.slots] == [0, 3 << 30][: len(ram)]
    assert disjoint(parts)
    assert all(any(low <= at and at + size <= low + room for low, room in ram) for at, size in parts)
    assert disjoint(ram + mmio)
    assert disjoint(ports)
    assert len(set(irqs)) == len(irqs)
    below = [(area.start, area.size) for area in planned.areas if area.start < 4 << 30]
    assert [start for start, _ in below] == [0, *(start + size for start, size in below)][:-1]
    assert disjoint([(area.start, area.size) for area in planned.areas])
    assert disjoint([(entry.start, entry.size) for entry in planned.e820])


@given(machines())
@settings(deadline=None)
def test_plans_never_overlap(spec: Spec) -> None:
    try:
        planned = plan(spec)
    except SpecError:
        return
    check(planned)


@given(memory=st.integers(6400, 1 << 24), initrd=st.integers(1, 1 << 22), vcpus=st.integers(1, 254))
@settings(deadline=None)
def test_linux_plans_never_overlap(
    memory: int, initrd: int, vcpus: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("linux")
    (directory / "vmlinux").write_bytes(images.elf())
    (directory / "initrd").write_bytes(bytes(1))
    os.truncate(directory / "initrd", initrd)
    spec = linux(directory / "vmlinux", memory * 4096, vcpus, initrd=directory / "initrd")
    check(plan(spec))


@given(specs.specs)
@settings(deadline=None)
def test_any_spec_gives_a_plan_or_problems(spec: Spec) -> None:
    found: tuple[Problem, ...] = ()
    try:
        plan(spec)
    except SpecError as error:
        found = error.problems
    assert all(problem.path and problem.message for problem in found)


# The printed plan does not change unnoticed. `VMRUN_GOLDEN=write` rewrites the files.


def golden(planned: Plan, directory: Path) -> str:
    shown = tree(planned)
    del shown["spec"], shown["files"]  # whose times differ
    return json.dumps(shown, indent=1).replace(str(directory), "DIR") + "\n"


@pytest.mark.parametrize("name", ["flat", "linux"])
def test_golden_plans(name: str, files: Path) -> None:
    match name:
        case "flat":
            spec = attrs.evolve(flat(mode="long"), devices=(Serial(), python(mmio=(0xD0000000, 0x1000), irq=5)))
        case _:
            spec = linux(files / "bzimage", 4 << 30, 2, initrd=files / "initrd", cmdline="console=ttyS0", unpack=False)
    text = golden(plan(spec), files)
    path = GOLDEN / f"{name}.plan.json"
    if os.environ.get("VMRUN_GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text()


def test_the_addresses_of_socket_devices(files):
    """Those that are given, and the first free ones for the others."""
    devices = [VirtioVsock(path=files / f"v{at}", cid=cid) for at, cid in enumerate((None, 4, None, 3, None))]
    planned = plan(linux(files / "vmlinux", devices=(*PC, *devices)))
    assert [device.options["cid"] for device in planned.devices[-5:]] == [5, 4, 6, 3, 7]


def test_two_socket_devices_with_one_address(files):
    devices = [VirtioVsock(path=files / f"v{at}", cid=9) for at in range(2)]
    found = problems(linux(files / "vmlinux", devices=(*devices, *PC)))
    assert found == {"device[1].cid": "virtio-vsock0 has the address 9 too"}
