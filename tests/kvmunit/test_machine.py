"""The machine that a test's configuration asks for, and the reasons for which a test is not run."""

import pytest
import tomli_w

import vmspec
from tests.kvmunit import machine
from tests.kvmunit.config import Tree, UnitTest
from tests.kvmunit.machine import SkippedError


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "x86").mkdir()
    (tmp_path / "x86" / "a.flat").write_bytes(b"")
    return Tree(tmp_path, tmp_path / "x86", "x86_64", True, (), ())


def spec(tree, arguments="", parameters="", smp="1", timeout=90.0):
    test = UnitTest("a", "a.flat", smp, arguments, parameters, timeout=timeout)
    return machine.spec(tree, test, machine.words(tree, test))


def test_the_spec_of_a_test_that_asks_for_nothing(tree):
    made = spec(tree)
    assert made["vm"] == {"name": "a", "memory": "128MiB", "vcpus": 1, "transport": "pci", "timeout": 90.0}
    assert made["boot"] == {"kernel": str(tree.programs / "a.flat"), "cmdline": "a.flat", "initrd": "environment"}
    kinds = [device["kind"] for device in made["device"]]
    assert kinds[:6] == ["i8042", "rtc", "acpi", "debug-exit", "serial", "fw-cfg"]
    assert set(kinds[6:]) == {"python"}
    assert next(device for device in made["device"] if device["kind"] == "debug-exit")["port"] == 0xF4


def test_what_a_test_asks_for_is_in_the_spec(tree):
    made = spec(tree, "'one two'", "-cpu max,-x2apic,+svm,-npt -m 4g -machine pit=off", "3", timeout=None)
    assert made["vm"] == {"name": "a", "memory": "4GiB", "vcpus": 3, "transport": "pci", "pit": False}
    assert made["boot"]["cmdline"] == "a.flat one two"
    assert made["cpu"] == {"disable": ["x2apic", "npt"]}


def test_a_shell_reads_the_parameters(tree):
    assert machine.words(tree, UnitTest("a", "a.flat", arguments='"1 `echo 2`"', parameters='-m "2 3"\n-S')) == [
        "-smp", "1", "-append", "1 2", "-m", "2 3", "-S",
    ]  # fmt: skip
    with pytest.raises(SkippedError, match="a shell cannot read its parameters"):
        machine.words(tree, UnitTest("a", "a.flat", parameters="'"))


def test_each_free_interrupt_line_has_a_port(tree):
    made = spec(tree)
    lines = {d["port"][0] - 0x2000: d["irq"] for d in made["device"] if d.get("class") == "pctestdev:Line"}
    assert all(port == irq for port, irq in lines.items())
    assert sorted(set(range(24)) - set(lines)) == [0, 1, 2, 4, 8, 9]  # timer, i8042, cascade, serial, rtc, ACPI
    assert vmspec.loads(tomli_w.dumps(made), tree.folder).vm.name == "a"


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        (
            "-cpu host,hv_passthrough -device hyperv-testdev",
            "-cpu hv_passthrough: .*; -device hyperv-testdev: vmrun has no",
        ),
        ("-overcommit cpu-pm=on", "-overcommit cpu-pm=on: a spec has no such setting"),
        ("-M q35 -device edu", "^-device edu: vmrun has no such device$"),
    ],
)
def test_a_test_that_needs_what_a_spec_does_not_have_is_skipped(tree, parameters, reason):
    with pytest.raises(SkippedError, match=reason):
        spec(tree, parameters=parameters)


def test_a_program_that_needs_what_no_option_names_is_skipped_with_vmrun_alone(tree, tmp_path):
    test = UnitTest("sleep", "s3.flat")
    with pytest.raises(SkippedError, match="suspend to RAM"):
        machine.spec(tree, test, [])
    assert str(tree.programs / "s3.flat") in machine.qemu(tree, test, tmp_path)


def test_any_model_is_the_host_s_processor_and_its_vendor_counts(tree):
    assert "cpu" not in spec(tree, parameters="-cpu Opteron_G1,+x2apic")
    assert spec(tree, parameters="-cpu qemu64,vendor=GenuineIntel")["cpu"] == {"vendor": "GenuineIntel"}


def test_qemu_gets_the_same(tree, tmp_path):
    test = UnitTest("a", "a.flat", "2", "x", "-m 1g")
    command = machine.qemu(tree, test, tmp_path)
    assert command[0] == "qemu-system-x86_64"
    kernel, environment = str(tree.programs / "a.flat"), str(tmp_path / "environment")
    assert command[-9:] == [kernel, "-smp", "2", "-append", "x", "-m", "1g", "-initrd", environment]


def test_a_tree_without_an_environment_has_no_module(tree, tmp_path):
    tree = tree._replace(environment=False)
    assert "initrd" not in spec(tree)["boot"]
    assert "-initrd" not in machine.qemu(tree, UnitTest("a", "a.flat"), tmp_path)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"groups": ("nodefault",)}, "to be run by hand: --all"),
        ({"arch": "i386"}, "i386 only"),
        ({"machine": "microvm"}, "machine microvm only"),
        ({"accel": "tcg"}, "tcg only"),
        ({"groups": ("migration",)}, "it needs a second program beside the guest (group migration)"),
        ({"check": (("/proc/sys/kernel/ostype", "Linux"), ("/nowhere", "Y"))}, "/nowhere is not Y"),
        ({"disabled_if": "true"}, "disabled because true"),
        ({"file": ""}, "unittests.cfg names no file"),
        ({"file": "b.flat"}, "b.flat has not been built"),
        ({"unknown": ("weight",)}, "unittests.cfg has weight, which the runner does not know"),
        ({"check": (("/proc/sys/kernel/ostype", "Linux"),), "disabled_if": "false", "accel": "kvm"}, ""),
    ],
)
def test_why_a_test_is_not_run(tree, values, reason):
    assert machine.skipped(tree, UnitTest("a", **{"file": "a.flat", **values}), manual=False) == reason


def test_a_test_is_run_by_hand(tree):
    assert not machine.skipped(tree, UnitTest("a", "a.flat", groups=("nodefault",)), manual=True)
