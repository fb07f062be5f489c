"""The core file of a Linux that hangs, with Debian's gdb and with drgn. One stay."""

import json
import re
import subprocess
import sys

import drgn
import pytest

from tests.guests import beside, debian, symbolfile
from tests.lab.labruns import HERE, LINUX, stayed
from vmspec.document import Document

pytestmark = [pytest.mark.lab, pytest.mark.soak]

MEMORY = 128  # MiB
FIRST = 2**32 - 300 * 250  # INITIAL_JIFFIES, five minutes before 32 bits overflow (include/linux/jiffies.h)
WAITING = {"delay_tsc", "delay_halt_mwaitx", "delay_loop", "__const_udelay", "panic"}  # where Linux stays


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("dump")
    kernel = debian.kernel("6.1-cloud")
    symbolfile.write(kernel, out / "vmlinux")
    beside.write_initrd(kernel, out / "initrd.img", HERE / "hung-init", ())
    sets = (
        f"boot.kernel={kernel.bzimage}", f"boot.initrd={out / 'initrd.img'}",
        "boot.cmdline=console=ttyS0 panic=0 nokaslr", f"vm.memory={MEMORY}MiB", "vm.vcpus=2", "vm.timeout=20min",
    )  # fmt: skip
    Document.open(LINUX / "linux.toml", sets).plan()  # unpacks the kernel into the cache, where the lab finds it
    inside = (sys.executable, HERE / "inside" / "dumped.py", out, LINUX / "linux.toml", *sets)
    stayed("--timeout", "30m", "--share", out, "--", *inside)
    return out


@pytest.fixture(scope="module")
def registers(folder):
    """What vmrun said of each vCPU while it stood still."""
    return json.loads((folder / "registers.json").read_text())


def test_gdb_has_its_symbols_and_registers(folder, registers):
    commands = ["info threads", "thread 1", "p/x $rip", "p/x $rsp", "thread 2", "p/x $rip", "p/x $rsp"]
    commands += ["x/gd &jiffies_64"]
    words = [word for command in commands for word in ("-ex", command)]
    done = subprocess.run(
        ["gdb", "-nx", "-batch", *words, folder / "vmlinux", folder / "core"],
        capture_output=True,
        text=True,
        check=True,
    )
    values = [int(value, 16) for value in re.findall(r"^\$\d+ = (0x[0-9a-f]+)$", done.stdout, re.MULTILINE)]
    expected = [int(registers[number][name], 16) for number in ("0", "1") for name in ("rip", "rsp")]
    assert values[:4] == expected, done.stdout
    jiffies = int(re.search(r"^0x[0-9a-f]+:\t(\d+)$", done.stdout, re.MULTILINE)[1])
    assert jiffies > FIRST  # the guest's, and not the ELF file's
    assert set(re.findall(r" in (\w+) \(\)", done.stdout)) & WAITING  # after panic()


def test_drgn_takes_it_for_linux(folder, registers):
    """It knows the kernel by the note VMCOREINFO."""
    program = drgn.Program()
    program.set_core_dump(folder / "core")
    assert drgn.ProgramFlags.IS_LINUX_KERNEL in program.flags
    assert program["UTS_RELEASE"].string_().decode().startswith("6.1.")
    assert b"Linux version 6.1." in program.read(symbol(folder, "linux_banner"), 64)


def symbol(folder, name):
    text = subprocess.run(["nm", folder / "vmlinux"], capture_output=True, text=True, check=True).stdout
    return int(re.search(rf"^([0-9a-f]+) \w {name}$", text, re.MULTILINE)[1], 16)
