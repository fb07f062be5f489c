"""Debian's SeaBIOS in the lab: it starts Debian's kernel, to its userspace, and iPXE, which runs a script; and
Memtest86+, which needs no firmware, tests 16 MiB."""

import re
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
for name in linux ipxe memtest; do
    "$1" $name.toml --no-trace >$name.console 2>$name.log; echo $? >$name.status
done
"""
PC = [{"kind": "serial", "input": "none"}, {"kind": "i8042"}, {"kind": "rtc"}, {"kind": "acpi"}]
# What iPXE does with its initrd, which is a script. It then ends the run by the keyboard controller.
IPXE = "#!ipxe\necho the script runs on ${platform}\nreboot\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("firmware")
    rom = debian.files("qemu-system-data") / "usr/share/qemu/linuxboot_dma.bin"
    bios = {
        "firmware": str(debian.files("seabios") / "usr/share/seabios/bios-256k.bin"),
        "files": [{"name": "genroms/linuxboot_dma.bin", "path": str(rom)}],
    }
    initrd.write(out / "initrd")
    (out / "script").write_text(IPXE)
    linux = {
        "vm": {"name": "linux", "memory": "256MiB", "timeout": "5min"},
        "boot": bios | {
            "kernel": str(debian.kernel("6.1-cloud").bzimage), "initrd": "initrd",
            "cmdline": "console=ttyS0 panic=-1 reboot=k",
        },
        "device": PC,
        "expect": {"console": ["SeaBIOS", "vmrun: userspace"], "exit": "reset"},
    }  # fmt: skip
    ipxe = {
        "vm": {"name": "ipxe", "memory": "64MiB", "timeout": "3min"},
        "boot": bios | {"kernel": str(debian.files("ipxe") / "boot/ipxe.lkrn"), "initrd": "script"},
        "device": PC,
        "expect": {"console": ["iPXE initialising devices", "the script runs on pcbios"], "exit": "reset"},
    }
    memtest = {
        "vm": {"name": "memtest", "memory": "16MiB", "timeout": "7min"},
        "boot": {
            "kernel": str(debian.files("memtest86+") / "boot/memtest86+x64.bin"),
            "cmdline": "console=ttyS0,115200 nosm",
        },
        "device": PC,
        "expect": {"exit": "timeout"},
    }
    for name, spec in (("linux", linux), ("ipxe", ipxe), ("memtest", memtest)):
        (out / f"{name}.toml").write_text(tomli_w.dumps(spec))
        Document.open(out / f"{name}.toml").plan()
    stayed("--timeout", "30m", "--share", out, "--", "sh", "-c", SCRIPT, out, VMRUN)
    return out


def ended(folder, name):
    log = (folder / f"{name}.log").read_text()
    assert (folder / f"{name}.status").read_text() == "0\n", log + (folder / f"{name}.console").read_text()[-3000:]


@pytest.mark.parametrize("name", ["linux", "ipxe"])
def test_seabios_starts_it(folder, name):
    ended(folder, name)


def test_memtest_runs_a_pass(folder):
    passes = re.findall(r"Pass: +(\d+) +Errors: +(\d+)", (folder / "memtest.console").read_text(errors="replace"))
    assert int(passes[-1][0]) >= 1
    assert {errors for _, errors in passes} == {"0"}
