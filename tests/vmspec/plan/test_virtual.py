"""What a spec with virtual time may have, and what its plan has."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.vmspec.image import test_rdtsc
from tests.vmspec.image.images import bzimage
from vmspec.devices.isa import ACPI, I8042, I8254, I8259, RTC, TSC, DebugPort, PCIHost, Python, Serial
from vmspec.devices.net import VirtioNet
from vmspec.devices.storage import VirtioBlk
from vmspec.devices.virtio import ConsolePort, VirtioBalloon, VirtioConsole, VirtioRng
from vmspec.plan import virtual
from vmspec.plan.calls import CreateIrqchip, EnableMsrExits, SetMsrFilter
from vmspec.plan.features import FEATURES
from vmspec.plan.settings import PlannedTime
from vmspec.planner import plan
from vmspec.schema.problems import SpecError
from vmspec.spec.models import CPU, VM, Boot, Spec, Trace

CLOCK = RTC(time=datetime(2026, 1, 1, tzinfo=UTC))


def spec(*devices, cpu=None, trace=None, **vm):
    return Spec(
        vm=VM("v", **{"time": "virtual", **vm}),
        boot=Boot(code=b"\xf4", mode="real"),
        cpu=cpu or CPU(),
        devices=devices,
        trace=trace or Trace(),
    )


def problems(*devices, **keys):
    with pytest.raises(SpecError) as caught:
        plan(spec(*devices, **keys))
    return {problem.path: problem.message for problem in caught.value.problems}


@pytest.mark.parametrize(
    ("devices", "keys", "path"),
    [
        ((), {"vcpus": 2}, "vm.vcpus"),
        ((), {"irqchip": "kernel"}, "vm.irqchip"),
        ((), {"pit": True}, "vm.pit"),
        ((), {"memory": 1 << 40}, "vm.memory"),
        ((), {"cpu": CPU(model=Path("/model.toml"))}, "cpu.model"),
        ((), {"cpu": CPU(vendor="AuthenticAMD")}, "cpu.vendor"),
        ((I8042(), RTC()), {}, "device[1].time"),
        ((Serial(),), {}, "device[0].input"),
        ((Serial(input=Path("/typed")),), {}, "device[0].input"),
        ((VirtioRng(),), {}, "device[0].seed"),
        ((VirtioRng(seed=1, transport="pci"),), {}, "device[0].transport"),
        ((VirtioRng(seed=1),), {"transport": "pci"}, "vm.transport"),
        ((VirtioConsole(),), {}, "device[0].input"),
        (
            (VirtioConsole(input="none", ports=(ConsolePort("p"), ConsolePort("q", input="stdin"))),),
            {},
            "device[0].ports[1].input",
        ),
        ((VirtioBalloon(),), {}, "device[0]"),
        ((VirtioNet(),), {}, "device[0]"),
        ((VirtioNet(queues=2, tap="t"),), {"trace": Trace(inputs=True)}, "device[0].queues"),
        ((VirtioNet(notify="ioeventfd"),), {"trace": Trace(inputs=True)}, "device[0].notify"),
        ((VirtioNet(transport="pci"),), {"trace": Trace(inputs=True)}, "device[0].transport"),
        ((Python("own:Own", port=(0x500, 1), irq=16),), {}, "device[0].irq"),
        ((PCIHost(),), {}, "device[0]"),
        ((Python("own:Own", port=(0x20, 1)),), {}, "device[0].port"),
        ((Python("own:Own", port=(0x500, 1), irq=0),), {}, "device[0].irq"),
    ],
)
def test_what_follows_the_hosts_time_is_a_problem_at_its_key(devices, keys, path):
    assert [*problems(*devices, **keys)] == [path]


@pytest.mark.parametrize(
    ("devices", "keys", "path"),
    [
        ((), {"step": 1000}, "vm.step"),
        ((), {"seed": 1}, "vm.seed"),
        ((I8259(),), {}, "device[0]"),
        ((CLOCK, I8254()), {}, "device[1]"),
        ((VirtioNet(latency=1),), {}, "device[0].latency"),
        ((VirtioNet(bandwidth=1 << 30),), {}, "device[0].bandwidth"),
    ],
)
def test_what_is_for_virtual_time_is_a_problem_without_it(devices, keys, path):
    assert [*problems(*devices, time="host", **keys)] == [path]


@pytest.fixture
def disk(tmp_path):
    path = tmp_path / "disk"
    path.write_bytes(bytes(512))
    return path


@pytest.mark.parametrize(
    ("keys", "time", "path"),
    [
        ({"mode": "rw"}, "virtual", "device[0].mode"),
        ({"mode": "ro", "notify": "ioeventfd"}, "virtual", "device[0].notify"),
        ({"latency": 1}, "host", "device[0].latency"),
        ({"bandwidth": 1 << 30}, "host", "device[0].bandwidth"),
    ],
)
def test_what_a_disk_cannot_have(disk, keys, time, path):
    assert [*problems(VirtioBlk(disk, **keys), time=time)] == [path]


def test_an_image_that_another_process_serves_is_a_problem(disk):
    """Also, here, what that process would say of this image."""
    assert "device[0].format" in problems(VirtioBlk(disk, mode="ro", format="qcow2"))


def test_virtio_devices_have_interrupts_of_the_8259s_and_disks_their_time(disk):
    planned = plan(
        spec(VirtioRng(seed=1), VirtioBlk(disk, mode="ro"), VirtioBlk(disk, mode="ro", latency=5, bandwidth=7))
    )
    assert [device.irq for device in planned.devices[:3]] == [5, 10, 11]
    times = [(device.options["latency"], device.options["bandwidth"]) for device in planned.devices[1:3]]
    assert times == [(100_000, 1 << 30), (5, 7)]


def test_a_network_has_its_time_and_gets_recorded_frames():
    planned = plan(spec(VirtioNet(), VirtioNet(tap="t", latency=5, bandwidth=7), trace=Trace(inputs=True)))
    times = [(device.options["latency"], device.options["bandwidth"]) for device in planned.devices[:2]]
    assert times == [(100_000, 1 << 27), (5, 7)]
    assert [text for text in planned.time.unenforced if "input" in text] == [
        f"device[{at}] gets the same input at the same exits: the trace's inputs have it" for at in (0, 1)
    ]


def test_acpi_has_no_apics():
    assert not plan(spec(ACPI())).irqchip


def test_input_that_is_recorded_is_none():
    vm, boot, trace = VM("v", time="virtual"), Boot(code=b"\xf4", mode="real"), Trace(inputs=True)
    planned = plan(Spec(vm=vm, boot=boot, trace=trace, devices=(Serial(), Serial(com=2, input="none"))))
    assert [text for text in planned.time.unenforced if "input" in text] == [
        "device[0] gets the same input at the same exits: the trace's inputs have it"
    ]


def test_a_seed_is_for_linux():
    assert [*problems(seed=1)] == ["vm.seed"]


def test_only_one_device_stands_for_the_tsc():
    assert problems(TSC(), TSC(port=0x70), DebugPort()) == {"device[1]": "device[0] stands for the TSC already"}


def test_a_guest_that_is_no_linux_reads_the_port_itself():
    planned = plan(spec(TSC(step=5)))
    assert (planned.time.tsc_step, planned.time.promise, planned.patches) == (5, "repeatable", ())


def modified(tmp_path, *devices, kernel=None, unpack=True, **vm):
    """The plan of a kernel with two RDTSC instructions."""
    (tmp_path / "vmlinux").write_bytes(kernel or test_rdtsc.kernel("0f31 c3", "b8000f3100", "0faee8 0f31"))
    boot = Boot(kernel=tmp_path / "vmlinux", unpack=unpack)
    return plan(Spec(vm=VM("v", **{"time": "virtual", **vm}), boot=boot, devices=devices))


def test_linux_reads_the_device_in_the_place_of_rdtsc(tmp_path):
    planned = modified(tmp_path, TSC(port=0x71))
    assert planned.patches == (
        (0x1000000, b"\x0f\x31", b"\xe4\x71"),
        (0x1000023, b"\x0f\x31", b"\xe4\x71"),
    )
    assert [note for note in planned.notes if "2 RDTSC instructions of its kernel read port 0x71 instead" in note]
    assert (planned.time.promise, planned.time.tsc_step) == ("exact", 1000)
    assert "RDTSC of modules and programs" in planned.time.unenforced[1]


def test_without_the_device_linux_is_not_modified(tmp_path):
    planned = modified(tmp_path)
    assert (planned.patches, planned.time.promise, planned.time.tsc_step) == ((), "repeatable", 0)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"kernel": bzimage(), "unpack": False}, r"only if vmrun unpacks it \(boot.unpack = false\)"),
        ({"kernel": bzimage(b"????" * 200)}, r"only if vmrun unpacks it \(the kernel unpacks itself: "),
        ({"kernel": test_rdtsc.elf()}, "boot.kernel has no symbols"),
        ({"time": "host"}, "is for virtual time"),
    ],
)
def test_a_kernel_that_cannot_be_modified_is_a_problem_of_the_device(tmp_path, keys, message):
    with pytest.raises(SpecError, match=message) as caught:
        modified(tmp_path, DebugPort(), TSC(), **keys)
    assert [problem.path for problem in caught.value.problems] == ["device[1]"]


def linux(tmp_path, cmdline="console=ttyS0", **vm):
    (tmp_path / "kernel").write_bytes(bzimage())
    boot = Boot(kernel=tmp_path / "kernel", cmdline=cmdline, unpack=False)
    return plan(Spec(vm=VM("v", **{"time": "virtual", **vm}), boot=boot))


def test_linux_is_told_what_it_cannot_measure(tmp_path):
    planned = linux(tmp_path)
    assert planned.cmdline == "console=ttyS0 lpj=1000000"
    assert planned.placement("cmdline").size == len(planned.cmdline) + 1
    assert [note for note in planned.notes if "lpj=1000000 was added" in note]


def test_the_specs_own_loops_stay(tmp_path):
    planned = linux(tmp_path, "lpj=5 quiet")
    assert planned.cmdline == "lpj=5 quiet"
    assert not [note for note in planned.notes if "lpj" in note]


def test_linux_gets_a_seed(tmp_path):
    planned = linux(tmp_path, seed=7)
    assert (planned.placement("rng-seed").size, planned.time.seed) == (48, 7)
    assert [note for note in planned.notes if "SETUP_RNG_SEED), made from 7" in note]


def test_with_the_hosts_time_linux_gets_neither(tmp_path):
    planned = linux(tmp_path, time="host")
    assert (planned.cmdline, planned.placement("rng-seed")) == ("console=ttyS0", None)


def test_the_chips_come_after_the_devices_of_the_spec():
    planned = plan(spec(CLOCK, DebugPort()))
    assert [device.name for device in planned.devices] == ["rtc0", "debug-port0", "i8259-0", "i8254-0"]
    assert [device.irq for device in planned.devices] == [8, None, 2, 0]


def test_chips_that_the_spec_has_are_not_there_twice():
    planned = plan(spec(I8254(), CLOCK))
    assert [device.name for device in planned.devices] == ["i8254-0", "rtc0", "i8259-0"]


def test_the_plan_has_the_filter_and_no_controllers_of_kvms():
    planned = plan(spec())
    kinds = [type(call) for call in planned.calls]
    assert (planned.irqchip, planned.pit, CreateIrqchip in kinds) == (False, False, False)
    assert kinds.index(EnableMsrExits) < kinds.index(SetMsrFilter)
    assert planned.calls[kinds.index(SetMsrFilter)].allowed == virtual.KERNEL_MSRS


def test_without_it_the_plan_has_none_of_it():
    planned = plan(spec(time="host"))
    assert (planned.time, planned.cpu.own, planned.devices) == (PlannedTime(), False, ())
    assert not any(isinstance(call, EnableMsrExits | SetMsrFilter) for call in planned.calls)


@pytest.mark.parametrize(("given", "step"), [(None, 20_000), (1_000_000, 1_000_000)])
def test_the_step_of_an_exit(given, step):
    assert plan(spec(step=given)).time.step == step


def test_a_class_of_the_users_is_named_among_what_is_not_enforced():
    (*_, last) = plan(spec(CLOCK, Python("own:Own", port=(0x500, 1)))).time.unenforced
    assert last.startswith("device[1], a class of the user's,")


HIDDEN = ("tsc", "tsc_deadline_timer", "x2apic", "rdtscp", "rdrand", "rdseed", "tsc_adjust", "constant_tsc", "pdcm")
HIDDEN += ("rdpid", "aperfmperf", "perfctr_core", "rdpru", "waitpkg", "mtrr", "mce", "mca", "xsave")


@pytest.mark.parametrize("name", HIDDEN)
def test_the_processor_shows_no_clock_no_random_numbers_and_no_counters(name):
    bit = FEATURES[name]
    table = {(leaf.function, leaf.subleaf or 0): leaf for leaf in plan(spec()).cpu.leaves}
    leaf = table.get((bit.function, bit.leaf_index))
    assert leaf is None or not getattr(leaf, bit.register) >> bit.bit & 1


def test_the_processor_has_no_apic_no_paravirtual_leaves_and_the_name_of_its_vendor():
    table = {leaf.function: leaf for leaf in virtual.leaves()}
    assert not table[1].edx >> 9 & 1
    assert not any(0x40000000 <= function < 0x80000000 for function in table)
    zero = table[0]
    assert b"".join(word.to_bytes(4, "little") for word in (zero.ebx, zero.edx, zero.ecx)) == b"AuthenticAMD"
    assert table[0x80000001].edx >> 29 & 1, "long mode"
