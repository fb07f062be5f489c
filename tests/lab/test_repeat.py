"""Debian's kernels with virtual time, in the lab: every boot has the same exits, whatever disturbs it."""

import os
import re
import subprocess
import sys

import pytest

import tracer
from tests.lab.labruns import HERE, repeat_example, stayed

pytestmark = [pytest.mark.lab, pytest.mark.soak]

RUNS = int(os.environ.get("VMRUN_LAB_RUNS", "20"))
KERNELS = ("6.1-cloud", "6.12-cloud")
# On the Intel host, of which a run takes minutes, the larger guest only.
BOOTS = [
    *(("amd", kernel, spec) for spec in ("repeat", "disk") for kernel in KERNELS),
    *(("intel", kernel, "disk") for kernel in KERNELS),
]


@pytest.fixture(scope="module", params=BOOTS, ids="-".join)
def folder(request, tmp_path_factory):
    """What the runs of a kernel on a host left, without and with a disk."""
    host, kernel, name = request.param
    example, out = tmp_path_factory.mktemp("example"), tmp_path_factory.mktemp("repeat")
    spec = repeat_example(example, kernel, name)
    lab = ["--host", host, "--timeout", f"{5 + 7 * RUNS}m", "--share", out]
    if host == "intel":  # has copies, that of a folder has links without what they name; and it keeps all in memory
        lab += ["--memory", "1536MiB", "--take", example, "--take", example / "vmlinuz"]
    stayed(*lab, "--", *map(str, [sys.executable, HERE / "inside" / "repeat.py", out, RUNS, spec]))
    return out


@pytest.fixture(scope="module")
def traces(folder):
    return [tracer.load(folder / f"{number}.arrow") for number in range(RUNS)]


def test_each_ends_as_its_spec_expects(folder, traces):
    logs = [(folder / f"{number}.log").read_text() for number in range(RUNS)]
    assert [(trace.complete, trace.summary["result"]["status"]) for trace in traces] == [(True, 0)] * RUNS, logs


def test_every_second_one_was_interrupted(traces):
    interrupted = [sum(trace.summary["interrupted"]) for trace in traces]
    assert min(interrupted[1::2]) > 100
    assert max(interrupted[::2]) < 100


def test_all_have_the_same_exits(folder):
    """What vmtrace diff compares: reason, RIP, address, size, count, direction, data, payload, device, vector."""
    first, *others = [folder / f"{number}.arrow" for number in range(RUNS)]
    found = {}
    for other in others:
        command = [sys.executable, "-m", "tracer.cli", "diff", first, other]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        found[other.name] = (done.returncode, re.findall("^(EQUAL|DIFFERENT).*", done.stdout, re.MULTILINE))
    assert found == {other.name: (0, ["EQUAL"]) for other in others}


def test_all_print_the_same(folder):
    assert len({(folder / f"{number}.console").read_bytes() for number in range(RUNS)}) == 1
