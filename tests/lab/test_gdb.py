"""gdb and Linux: an interrupt, the registers of each vCPU, memory by symbol, a step. One stay. QEMU emulates neither
the debug registers of a guest of SVM nor the intercept of its INT3, so breakpoints are not tried here."""

import json
import re
import subprocess
import sys

import pytest

import tracer
from tests.guests import debian, symbolfile
from tests.lab.labruns import LINUX, stayed, userspace
from vmspec.document import Document

pytestmark = [pytest.mark.lab, pytest.mark.soak]

SYMBOLS = ("linux_banner",)


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
    symbolfile.write(kernel, SYMBOLS, out / "vmlinux")
    sets = (f"boot.kernel={kernel.bzimage}", "vm.vcpus=2", "vm.timeout=20min")
    Document.open(LINUX / "linux.toml", sets).plan()  # unpacks the kernel into the cache, where the lab finds it
    command = [sys.executable, "tests/lab/inside/gdb.py", out, out / "vmlinux", LINUX / "linux.toml", *sets]
    stayed("--timeout", "30m", "--share", out, "--", *command)
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
    assert len(re.findall(r"^(=>|  ) 0x[0-9a-f]+:", stay.gdb, re.MULTILINE)) == 2  # the instructions there


def test_the_guest_goes_on_to_userspace_and_its_end(stay):
    assert "vmrun: userspace" in userspace(stay.console)
    assert (stay.result["kind"], stay.result["status"]) == ("reset", 0), stay.result
    assert "exited normally" in stay.gdb


def test_what_gdb_did_has_no_rows(stay):
    assert "debug" not in stay.trace.table["reason"].to_pylist()
