"""gdb and Linux: an interrupt, the registers of each vCPU, memory by symbol, a step; on the Intel host breakpoints too,
a watchpoint and a module. QEMU emulates neither the debug registers of a guest of SVM nor the intercept of its INT3."""

import json
import re
import subprocess
import sys

import pytest

import tracer
from tests.guests import beside, debian, symbolfile
from tests.lab.labruns import HERE, LINUX, stayed, userspace
from vmspec.document import Document

pytestmark = [pytest.mark.lab, pytest.mark.soak]

INSIDE = HERE / "inside"
EARLY = "Memory: "  # long before the kernel frees its memory of the start
MODULE = "virtio_rng"
AT = rf"{MODULE} is at (0x[0-9a-f]+)\s"


class Stay:
    """What it left: the texts of gdb and of the console, the result, the trace."""

    def __init__(self, folder):
        self.gdb = (folder / "gdb.out").read_text()
        self.console = (folder / "console").read_bytes()
        self.result = json.loads((folder / "result.json").read_text())
        self.trace = tracer.load(folder / "trace.arrow")


@pytest.fixture(scope="module")
def stay(tmp_path_factory):
    out = tmp_path_factory.mktemp("gdb")
    subprocess.run([sys.executable, LINUX / "prepare.py"], check=True, capture_output=True)
    kernel = debian.kernel("6.1-cloud")
    symbolfile.write(kernel, out / "vmlinux")
    sets = (f"boot.kernel={kernel.bzimage}", "vm.vcpus=2", "vm.timeout=20min")
    Document.open(LINUX / "linux.toml", sets).plan()  # unpacks the kernel into the cache, where the lab finds it
    command = [sys.executable, INSIDE / "gdb.py", out, INSIDE / "interrupt.commands", EARLY, out / "vmlinux"]
    stayed("--timeout", "30m", "--share", out, "--", *command, LINUX / "linux.toml", *sets)
    return Stay(out)


@pytest.fixture(scope="module")
def breakpoints(tmp_path_factory):
    """The same of the session with breakpoints, on the Intel host."""
    out, folder = tmp_path_factory.mktemp("out"), tmp_path_factory.mktemp("breakpoints")
    kernel = debian.kernel("6.1-cloud")
    symbolfile.write(kernel, folder / "vmlinux")
    beside.write_initrd(kernel, folder / "initrd.img", HERE / "gdb-init", ("virtio_mmio", MODULE))
    (folder / "module.ko").write_bytes(debian.unsigned(debian.modules(kernel, (MODULE,))[MODULE]))
    spec = HERE / "gdb.toml"
    sets = (f"boot.kernel={debian.vmlinux(kernel)}", f"boot.initrd={folder / 'initrd.img'}")
    command = [sys.executable, INSIDE / "gdb.py", out, INSIDE / "breakpoints.commands", AT, folder / "vmlinux", spec]
    gdb = debian.program("gdb", "gdb")
    taken = (gdb, "/usr/share/gdb", "/usr/lib/python3.11", folder, debian.vmlinux(kernel))  # gdb has a Python in it
    take = [word for path in taken for word in ("--take", path)]
    stayed("--host", "intel", "--timeout", "45m", *take, "--share", out, "--", *command, *sets)
    return Stay(out)


def test_each_vcpu_has_its_registers(stay):
    assert len(set(re.findall(r"Thread (\d) \(vCPU", stay.gdb))) == 2
    second = int(re.search(r"second vCPU, rip (0x[0-9a-f]+)", stay.gdb)[1], 16)
    first, cr3, efer = (
        int(value, 16) for value in re.search(r"first vCPU, rip (\S+), cr3 (\S+), efer (\S+)", stay.gdb).groups()
    )
    assert second != first
    assert first > 0xFFFFFFFF80000000
    assert cr3
    assert efer & 1 << 10  # long mode


def test_memory_by_symbol(stay):
    assert re.search(r"^banner: Linux version 6\.1\.", stay.gdb, re.MULTILINE)


def test_a_step(stay):
    assert "a step: 1" in stay.gdb, stay.gdb
    assert len(re.findall(r"^(=>|  ) 0x[0-9a-f]+ <\w+\+?\d*>:", stay.gdb, re.MULTILINE)) == 2  # the instructions there


def test_the_guest_goes_on_to_userspace_and_its_end(stay):
    assert "vmrun: userspace" in userspace(stay.console)
    assert (stay.result["kind"], stay.result["status"]) == ("reset", 0), stay.result
    assert "exited normally" in stay.gdb


def test_what_gdb_did_has_no_rows(stay):
    assert "debug" not in stay.trace.table["reason"].to_pylist()


def test_a_breakpoint_at_the_kernels_first_function(breakpoints):
    """Set before its address is mapped, so in a debug register."""
    said = breakpoints.gdb
    assert re.search(r"^Breakpoint 1, 0x[0-9a-f]+ in start_kernel \(\)$", said, re.MULTILINE), said
    assert re.search(r"^#1  0x[0-9a-f]+ in secondary_startup_64_no_verify", said, re.MULTILINE), said
    assert re.search(r"^=> 0x[0-9a-f]+ <", said, re.MULTILINE), said
    assert re.search(r"^cr0 .*PG", said, re.MULTILINE), said


def test_a_watchpoint_on_the_clock(breakpoints):
    found = re.search(
        r"^Hardware watchpoint 2: .*\n\nOld value = (\d+)\nNew value = (\d+)$", breakpoints.gdb, re.MULTILINE
    )
    assert found, breakpoints.gdb
    assert int(found[2]) == int(found[1]) + 1
    assert re.search(r"^#0  0x[0-9a-f]+ in do_timer \(\)", breakpoints.gdb, re.MULTILINE)


def test_a_breakpoint_when_a_module_is_loaded(breakpoints):
    assert re.search(r"^Breakpoint 3, 0x[0-9a-f]+ in do_init_module \(\)$", breakpoints.gdb, re.MULTILINE)
    assert "module: virtio\n" in breakpoints.gdb


def test_a_breakpoint_in_a_module(breakpoints):
    assert re.search(r"^Breakpoint 4, 0xffffffffc[0-9a-f]+ in virtio_read \(\)$", breakpoints.gdb, re.MULTILINE)


def test_the_guest_goes_on_from_its_breakpoints_to_its_end(breakpoints):
    assert "vmrun: userspace" in userspace(breakpoints.console)
    assert (breakpoints.result["kind"], breakpoints.result["status"]) == ("reset", 0), breakpoints.result
