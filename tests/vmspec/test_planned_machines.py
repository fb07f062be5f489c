"""What a machine has and what it may not have: sizes, timer, tables, and which files its plan was made from."""

from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.vmspec.image import images
from tests.vmspec.test_planner import HLT, PC, flat, linux, placed, problems, python
from vmspec.devices.isa import RTC, Serial
from vmspec.devices.virtio import ConsolePort, VirtioConsole
from vmspec.plan.settings import PlannedExpect, PlannedLimit, PlannedPlace, PlannedVerdict
from vmspec.planner import plan
from vmspec.schema.problems import SpecError
from vmspec.schema.tables import write_model
from vmspec.spec.expect import ExitLimits, Expect, TimeLimits
from vmspec.spec.models import CPU, VM, Boot, Memory, Spec, Trace


def refused(spec: Spec) -> str | None:
    """What a person is told of a spec that cannot be planned."""
    try:
        plan(spec)
    except SpecError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    ("vm", "expected"),
    [
        ({"memory": 4096}, None),
        ({"memory": 0}, "vm.memory: is not a valid memory size (here: 0); allowed: whole 4 KiB pages"),
        ({"memory": -4096}, "vm.memory: is not a valid memory size (here: -4096); allowed: whole 4 KiB pages"),
        ({"memory": 8191}, "vm.memory: is not a valid memory size (here: 8191); allowed: whole 4 KiB pages"),
        ({"memory": (1 << 52) - (1 << 30)}, None),
        (
            {"memory": (1 << 52) - (1 << 30) + 4096},
            "vm.memory: is not a valid memory size (here: 4503598553632768); allowed: whole 4 KiB pages",
        ),
        ({"vcpus": 0}, "vm.vcpus: is not a valid number of vCPUs (here: 0); allowed: 1 to 254"),
        ({"vcpus": 1}, None),
        ({"vcpus": 254}, None),
        ({"vcpus": 255}, "vm.vcpus: is not a valid number of vCPUs (here: 255); allowed: 1 to 254"),
    ],
)
def test_sizes_of_machines(vm: dict[str, int], expected: str | None) -> None:
    """Physical addresses have 52 bits (Intel SDM volume 3, 4.1.4), of which RAM leaves the hole's GiB free; an 8-bit
    APIC id of 255 means all."""
    spec = attrs.evolve(flat(load=0), vm=VM(name="m", **vm))
    assert refused(spec) == expected


@pytest.mark.parametrize(("memory", "whole"), [(2 << 20, True), (3 << 20, False)])
def test_ram_in_huge_pages_is_whole_huge_pages(memory: int, whole: bool) -> None:
    spec = attrs.evolve(flat(memory=memory), memory=Memory(pages="hugetlbfs"))
    message = "vm.memory: must be whole huge pages (here: 3MiB); allowed: a multiple of 2MiB"
    assert refused(spec) == (None if whole else message)


@pytest.mark.parametrize(
    ("boot", "expected"),
    [
        (Boot(code=HLT, kernel=Path("/k")), "boot.code: cannot be combined with boot.kernel: give one of them"),
        (Boot(code=b"", mode="real"), "boot.code: is empty"),
        (Boot(), "boot: nothing to start: give boot.kernel, boot.code or boot.firmware"),
        (Boot(kernel=Path("/none")), "boot.kernel: cannot be opened: No such file or directory (here: /none)"),
        (
            Boot(code=HLT, mode="real", symbols=Path("/none")),
            "boot.symbols: cannot be opened: No such file or directory (here: /none)",
        ),
    ],
)
def test_nothing_to_start(boot: Boot, expected: str) -> None:
    assert refused(Spec(vm=VM(name="m"), boot=boot)) == expected


@pytest.mark.parametrize(
    ("boot", "collides"),
    [
        (Boot(kernel=Path("/none")), True),
        (Boot(kernel=Path("/none"), mode="real"), False),
        (Boot(code=b"", kernel=None), False),
    ],
)
def test_a_kernel_that_cannot_be_read_counts_as_linux_for_the_rest(boot: Boot, collides: bool) -> None:
    """So a device on the interrupt controller's ports is reported with it."""
    found = problems(Spec(vm=VM(name="m"), boot=boot, devices=(python(port=(0x20, 2)),)))
    assert ("device[0].port" in found) is collides


@pytest.mark.parametrize(
    ("irqchip", "pit", "expected"),
    [
        ("none", None, (False, False)),
        ("none", False, (False, False)),
        ("kernel", None, (True, True)),
        ("kernel", True, (True, True)),
        ("kernel", False, (True, False)),
        ("auto", None, (False, False)),
    ],
)
def test_the_timer_comes_with_the_interrupt_controllers(
    irqchip: str, pit: bool | None, expected: tuple[bool, bool]
) -> None:
    planned = plan(attrs.evolve(flat(), vm=VM(name="m", irqchip=irqchip, pit=pit)))
    assert (planned.irqchip, planned.pit) == expected
    made = {call.ioctl for call in planned.calls}
    assert ("KVM_CREATE_IRQCHIP" in made, "KVM_CREATE_PIT2" in made) == expected
    own = {region.name for region in planned.taken}
    assert ("the interrupt controller" in own, "the timer (PIT)" in own) == expected


def test_the_timer_alone_is_a_problem() -> None:
    spec = attrs.evolve(flat(), vm=VM(name="m", irqchip="none", pit=True), devices=(python(port=(0x40, 4)),))
    assert problems(spec) == {"vm.pit": "KVM's timer needs its interrupt controller: vm.irqchip must be kernel"}


def test_a_python_device_may_end_a_halted_machine() -> None:
    vm = VM(name="m", irqchip="kernel")
    spec = attrs.evolve(flat(), vm=vm, expect=Expect(exit=("halt",)))
    message = "a machine with interrupt controllers never ends with halt: KVM waits for an interrupt"
    assert problems(attrs.evolve(spec, devices=(Serial(),))) == {"expect.exit": message}
    plan(attrs.evolve(spec, devices=(Serial(), python(port=(0x100, 1)))))


def test_the_plan_has_every_setting_of_its_spec(tmp_path: Path) -> None:
    vm = VM(name="all", memory=2 << 20, vcpus=3, timeout=5_000_000_000)
    memory = Memory(backing="memfd", pages="small", locked=True, prefault=True)
    cpu = CPU(disable=("avx", "avx2"), vendor="AuthenticAMD")
    trace = Trace(path=tmp_path / "t.arrow", rip=False, full="drop", tracepoints="try", events=("kvm:kvm_pio",),
                  inputs=True, requests=False, outputs=False, ring=128)  # fmt: skip
    expect = Expect(console=("ok",), absent=("panic",), patterns=("o.",), forbidden=("no+",),
                    exit=("debug-exit", "halt"), status=33, ktap=True)  # fmt: skip
    boot = Boot(code=HLT, mode="real", load=0x2000)
    path = tmp_path / "spec.toml"
    spec = Spec(vm=vm, boot=boot, memory=memory, cpu=cpu, trace=trace, expect=expect, path=path,
                overrides=("vm.vcpus=3",))  # fmt: skip
    planned = plan(spec)
    assert planned.vm == ("all", 2 << 20, 3, 5_000_000_000)
    assert planned.memory == ("memfd", "small", True, True)
    assert planned.cpu == (("avx", "avx2"), (), False, "AuthenticAMD")
    assert planned.trace == (tmp_path / "t.arrow", False, "drop", "try", ("kvm:kvm_pio",), True, False, False, 128)
    assert planned.expect == PlannedExpect(
        ("ok",), ("panic",), ("o.",), ("no+",), ("debug-exit", "halt"), 33, ktap=True
    )  # fmt: skip
    assert (planned.code, planned.path, planned.overrides) == (HLT, path, ("vm.vcpus=3",))
    assert (planned.image, planned.protocol, planned.cmdline, planned.notes) == ("flat", "flat", "", ())
    assert planned.e820 == (), "only Linux reads a memory map"
    assert planned.names == tuple(spec.names())
    assert planned.spec == write_model(spec)


def recorded(tmp_path: Path, expect: Expect, **trace: Any) -> Spec:
    console = VirtioConsole(ports=(ConsolePort("result"), ConsolePort("log", output="stdout")))
    return attrs.evolve(
        flat(), expect=expect, devices=(Serial(), console), trace=Trace(path=tmp_path / "t.arrow", **trace)
    )


def test_the_plan_has_the_expectations_of_a_trace(tmp_path: Path) -> None:
    (tmp_path / "golden.arrow").touch()
    expect = Expect(
        ports={"result": {"ok": True}}, unclaimed="none", allow=((0x80, 1),), errors="none",
        reference=tmp_path / "golden.arrow", differ=("rip", "numbers"),
        exits=ExitLimits(all=5, reason={"io": 4}, device={"serial0": 3}),
        time=TimeLimits(guest=1, handling=2, line={"login:": 3}),
    )  # fmt: skip
    assert plan(recorded(tmp_path, expect)).expect == PlannedExpect(
        ports=(PlannedVerdict("expect.ports.result", "result", "virtio-console0.result", None, {"ok": True}),),
        unclaimed="none", allow=(PlannedPlace(0x80, 1),), errors="none",
        reference=tmp_path / "golden.arrow", differ=("rip", "numbers"),
        limits=(
            PlannedLimit("expect.exits.all", "exits", 5), PlannedLimit("expect.exits.reason.io", "reason", 4, "io"),
            PlannedLimit("expect.exits.device.serial0", "device", 3, "serial0"),
            PlannedLimit("expect.time.guest", "guest", 1), PlannedLimit("expect.time.handling", "handling", 2),
            PlannedLimit('expect.time.line."login:"', "line", 3, "login:"),
        ),
    )  # fmt: skip


def test_what_is_checked_in_a_trace_needs_a_whole_one(tmp_path: Path) -> None:
    (tmp_path / "golden.arrow").touch()
    limits = ExitLimits(all=1, reason={"io": 1}, device={"serial0": 1})
    reference = tmp_path / "golden.arrow"
    expect = Expect(unclaimed="none", errors="none", reference=reference, exits=limits, time=TimeLimits(guest=1))
    keys = ("unclaimed", "errors", "reference", "exits.device.serial0", "time.guest")
    message = 'needs every exit in the trace: trace.full must be "wait"'
    assert problems(recorded(tmp_path, expect, full="drop")) == {f"expect.{key}": message for key in keys}
    plan(recorded(tmp_path, expect))


@pytest.mark.parametrize(
    ("expect", "trace", "expected"),
    [
        (Expect(errors="none"), {"requests": False},
         {"expect.errors": "needs the requests in the trace: trace.requests must be true"}),
        (Expect(exits=ExitLimits(device={"serial1": 1})), {}, {"expect.exits.device.serial1": "is not a device"}),
        (Expect(ports={"results": "ok"}), {}, {"expect.ports.results": "is not a port of a virtio-console"}),
        (Expect(ports={"log": "ok"}), {},
         {"expect.ports.log": 'prints to "stdout": what comes there is expected with expect.console'}),
        (Expect(reference=Path("/nowhere.arrow")), {},
         {"expect.reference": "there is no such file: run without this key, record a trace, and give its name here"}),
    ],
)  # fmt: skip
def test_an_expectation_that_the_machine_cannot_meet(
    tmp_path: Path, expect: Expect, trace: dict[str, Any], expected: dict[str, str]
) -> None:
    assert problems(recorded(tmp_path, expect, **trace)) == expected


def test_the_plan_of_linux_has_its_command_line(tmp_path: Path) -> None:
    (tmp_path / "vmlinux").write_bytes(images.elf())
    assert plan(linux(tmp_path / "vmlinux", cmdline="console=ttyS0")).cmdline == "console=ttyS0"


def test_the_plan_names_the_files_that_it_was_made_from(tmp_path: Path) -> None:
    (tmp_path / "code").write_bytes(HLT)
    (tmp_path / "map").write_bytes(b"0000000000001000 T start\n")
    boot = Boot(kernel=tmp_path / "code", mode="real", symbols=tmp_path / "map")
    files = plan(Spec(vm=VM(name="m"), boot=boot)).files
    assert [(file.name, file.path) for file in files] == [("kernel", tmp_path / "code"), ("symbols", tmp_path / "map")]
    assert all(file.version is not None for file in files)


@pytest.mark.parametrize(
    ("irqchip", "devices", "tables"),
    [
        ("none", (), {"bda": (0x400, 0x100)}),
        ("auto", (RTC(),), {"bda": (0x400, 0x100), "mptable": (0xF0000, 0x10000)}),
        ("auto", PC, {"bda": (0x400, 0x100), "mptable": (0xF0000, 0x10000), "acpi": (0xE0000, 0x10000)}),
    ],
    ids=["bare", "interrupts", "acpi"],
)
def test_tables_that_describe_the_machine_to_linux(irqchip: str, devices: tuple, tables: dict, tmp_path: Path) -> None:
    (tmp_path / "vmlinux").write_bytes(images.elf())
    spec = linux(tmp_path / "vmlinux", devices=devices)
    planned = plan(attrs.evolve(spec, vm=attrs.evolve(spec.vm, irqchip=irqchip)))
    own = {"kernel", "cmdline", "boot_params", "gdt", "page-tables"}
    assert {name: place for name, place in placed(planned).items() if name not in own} == tables
