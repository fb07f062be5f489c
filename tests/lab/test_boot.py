"""Debian's kernels boot from examples/linux/linux.toml, in the lab; the whole matrix in the soak."""

import re

import pytest

from tests.lab.labruns import INTEL, MATRIX, PVH, SAMPLE

pytestmark = [pytest.mark.lab, pytest.mark.stay("linux")]

BOOTS = [
    *(pytest.param(("sample", boot), id=boot.name) for boot in SAMPLE),
    *(pytest.param(("intel", boot), id=f"intel-{boot.name}", marks=pytest.mark.soak) for boot in INTEL),
    *(pytest.param(("pvh", boot), id=boot.name, marks=pytest.mark.soak) for boot in PVH),
    *(pytest.param((boot.kernel, boot), id=f"matrix-{boot.name}", marks=pytest.mark.soak) for boot in MATRIX),
]
# Below 1 MiB, not RAM for the guest: the first page, which Linux itself reserves, and 0x9f000 to 1 MiB.
LOW = 4 + (0x100000 - 0x9F000) // 1024  # KiB

SUSPICIOUS = re.compile(
    r"\b(warn(ing)?|bug|error|fail(ed|ure|s)?|fatal|missing|unstable|unsynchronized|invalid|unable|cannot|lockup|"
    r"stalls?|timed out|not (found|detected|listed|present|available|enabled|functional|responding)|no .* found)\b",
    re.IGNORECASE,
)
# What else Linux says of this machine, each with its reason. "Peers": kvmtool's or QEMU's microvm's guest says it too.
EXPECTED = [
    ("at arch/x86/kernel/fpu/xstate.c", "the emulated processor's XSAVE is not as its CPUID says; peers"),
    ("tsc: Marking TSC unstable due to TSCs unsynchronized", "the emulated processor's TSC is not invariant; peers"),
    ("PCI: Fatal: No config space access function found", "there is no PCI bus; peers"),
    ("DMI not present or invalid", "there is no firmware, so no SMBIOS tables; peers"),
    ("Performance Events: PMU not available due to virtualization", "the emulated processor has none; peers"),
    ('if necessary, use "pci=nocrs" and report a bug', "information, said on every machine with ACPI; peers"),
    ("AMD IOMMUv2 functionality not available on this system - This is not a bug", "as it says; peers"),
    ("amd_pstate: the _CPC object is not present", "there is no ACPI table of processor performance; peers"),
    ("No NUMA configuration found", "there is one node; peers"),
    ("ima: No TPM chip found", "there is none; peers"),
    ("ima: No architecture policies found", "a kernel option; peers"),
    ("AGP: No AGP bridge found", "there is no PCI bus; peers"),
    ("Checked W+X mappings: passed, no W+X pages found", "as it should be"),
]


@pytest.fixture(params=BOOTS)
def booted(request, lab):
    """A boot and its run."""
    group, boot = request.param
    return boot, lab.run(group, boot.name)


def test_the_run_ends_as_the_spec_expects(booted):
    boot, run = booted
    assert (run.status, run.trace.summary["result"]) == (0, {"kind": boot.end, "status": 0}), run.log


def test_userspace_sees_every_vcpu(booted):
    boot, run = booted
    assert re.search(r"^(\d+)$", run.userspace, re.MULTILINE)[1] == str(boot.vcpus)


def test_linux_sees_all_memory(booted):
    boot, run = booted
    available = re.search(rb"Memory: \d+K/(\d+)K available", run.console)
    assert int(available[1]) == boot.memory * 1024 - LOW


def test_userspace_has_the_memory_that_the_kernel_does_not_need(booted):
    boot, run = booted
    total = re.search(r"^Mem: +(\d+)", run.userspace, re.MULTILINE)
    # Page structures and, with RAM above 4 GiB, the bounce buffer for DMA are 3%; the kernel itself is below 64 MiB.
    assert boot.memory * 1024 * 0.97 - 65536 < int(total[1]) < boot.memory * 1024


def test_linux_warns_of_nothing_unexpected(booted):
    _, run = booted
    lines = [line for line in run.console.decode().splitlines() if SUSPICIOUS.search(line)]
    assert [line for line in lines if not any(text in line for text, _ in EXPECTED)] == []
