"""Kernels in the forms in which people have them, in the lab: Debian's in a unified kernel image with systemd's stub,
Debian's Xen as its package has it, which starts Debian's kernel as dom0, and Memtest86+, which is in a bzImage."""

import subprocess
import sys
from pathlib import Path

import pytest
import tomli_w

from tests.guests import debian, initrd
from tests.lab.labruns import stayed
from vmspec.document import Document

pytestmark = [pytest.mark.lab, pytest.mark.soak]

VMRUN = Path(sys.executable).with_name("vmrun")
SCRIPT = """cd "$0"
for name in uki xen memtest; do
    "$1" $name.toml --no-trace >$name.console 2>$name.log; echo $? >$name.status
done
"""
STUB = "usr/lib/systemd/boot/efi/linuxx64.efi.stub"
# Where the sections lie in memory: after the stub's own, as systemd's ukify puts them.
SECTIONS = {".cmdline": 0x30000, ".linux": 0x2000000, ".initrd": 0x3000000}
CMDLINE = "console=ttyS0 panic=-1 reboot=k"
SERIAL, I8042 = {"kind": "serial", "input": "none"}, {"kind": "i8042"}


def unified(out, **sections):
    """A unified kernel image with these sections (.linux, .initrd, .cmdline)."""
    words = []
    for name, path in sections.items():
        words += ["--add-section", f".{name}={path}", "--change-section-vma", f".{name}={SECTIONS['.' + name]:#x}"]
    subprocess.run(["objcopy", *words, debian.files("systemd-boot-efi") / STUB, out], check=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("forms")
    kernel = debian.kernel("6.1-cloud").bzimage
    initrd.write(out / "initrd")
    (out / "cmdline").write_text(CMDLINE)
    unified(out / "vm.efi", cmdline=out / "cmdline", linux=kernel, initrd=out / "initrd")
    uki = {
        "vm": {"name": "uki", "memory": "256MiB", "timeout": "3min"},
        "boot": {"kernel": "vm.efi"},
        "device": [SERIAL, I8042],
        "expect": {"console": ["vmrun: userspace"], "exit": "reset"},
    }
    dom0 = {"path": str(kernel), "cmdline": "vmlinuz console=hvc0 earlyprintk=xen panic=-1"}
    xen = {
        "vm": {"name": "xen", "memory": "512MiB", "timeout": "5min"},
        "cpu": {"disable": ["smap"]},  # QEMU's SVM and Xen's use of it do not agree
        "boot": {
            "kernel": str(debian.files("xen-hypervisor-4.17-amd64") / "boot/xen-4.17-amd64.gz"),
            "cmdline": "xen com1=115200,8n1 console=com1 loglvl=all",
            "modules": [dom0, {"path": "initrd"}],
        },
        "device": [SERIAL, I8042, {"kind": "rtc"}, {"kind": "acpi"}],
        "expect": {
            "console": ["Xen version 4.17", "Linux version 6.1", "Run /init", "Dom0 shutdown: rebooting"],
            "exit": "reset",
        },
    }
    memtest = {  # it tests without an end; a pass takes some four minutes
        "vm": {"name": "memtest", "memory": "16MiB", "timeout": "7min"},
        "boot": {
            "kernel": str(debian.files("memtest86+") / "boot/memtest86+x64.bin"), "cmdline": "console=ttyS0,115200",
        },
        "device": [SERIAL, I8042, {"kind": "rtc"}, {"kind": "acpi"}],
        "expect": {"console": ["Status: Pass", "Pass:  1        Errors: 0"], "exit": "timeout"},
    }  # fmt: skip
    for name, spec in (("uki", uki), ("xen", xen), ("memtest", memtest)):
        (out / f"{name}.toml").write_text(tomli_w.dumps(spec))
        Document.open(out / f"{name}.toml").plan()  # unpacks the kernel into the cache, where the lab finds it
    stayed("--timeout", "20m", "--share", out, "--", "sh", "-c", SCRIPT, out, VMRUN)
    return out


@pytest.mark.parametrize("name", ["uki", "xen", "memtest"])
def test_it_does_what_its_spec_expects(folder, name):
    said = (folder / f"{name}.console").read_text(errors="replace") + (folder / f"{name}.log").read_text()
    assert (folder / f"{name}.status").read_text() == "0\n", said


def test_the_unified_image_gives_the_command_line(folder):
    assert CMDLINE in (folder / "uki.console").read_text(errors="replace")


def test_dom0_is_linux_on_xen(folder):
    console = (folder / "xen.console").read_text(errors="replace")
    assert 0 <= console.find("(XEN) Xen version 4.17") < console.find("] Xen version: 4.17")
