"""A Debian system boots from its disk to a login prompt, in each mode, by each transport, with each kernel:
examples/disk."""

import hashlib
import runpy
import subprocess
import sys

import pytest

from tests.guests import debian
from tests.lab.labruns import KERNELS, ROOT, TRANSPORTS
from tests.lab.talks import PLACE, Talk, settings, stay
from vmspec.document import Document

pytestmark = [pytest.mark.lab, pytest.mark.soak, pytest.mark.stay("debian")]

EXAMPLE = ROOT / "examples" / "disk"
IMAGE = "device[5].path"
MODES = ("overlay", "rw", "ro")  # in this order: the overlay leaves nothing for the next run, "rw" does
# The other kernels and numbers of processors boot from an overlay.
OTHERS = [(name, vcpus) for name in KERNELS for vcpus in (1, 4) if (name, vcpus) != ("6.1-cloud", 1)]
STEPS = [
    ("debian login: ", "root\n"),
    ("# ", "cat /root/kept; grep ' / ' /proc/mounts\n"),
    ("# ", "echo kept by $(uname -n) >/root/kept; sync\n"),
    ("# ", "poweroff\n"),
]


@pytest.fixture(scope="module", params=TRANSPORTS)
def runs(request, tmp_path_factory):
    subprocess.run([sys.executable, EXAMPLE / "prepare.py"], check=True)
    talks = []
    for mode in MODES:
        sets = [f"vm.transport={request.param}", f"device[5].mode={mode}", f"{IMAGE}={PLACE / 'debian.img'}"]
        arguments = settings(EXAMPLE / "disk.toml", (*sets, "vm.timeout=15min"))
        talks.append(Talk(mode, arguments, STEPS, ["sha256sum", "debian.img"] if mode == "overlay" else []))
    return stay(tmp_path_factory.mktemp("debian"), {"debian.img": str(EXAMPLE / "debian.img")}, talks, "1h")


@pytest.fixture(scope="module", params=TRANSPORTS)
def others(request, tmp_path_factory):
    made, out, talks = runpy.run_path(str(EXAMPLE / "prepare.py")), tmp_path_factory.mktemp("kernels"), []
    spec = made["prepare"]()
    for name, vcpus in OTHERS:
        kernel, start = debian.kernel(name), out / f"{name}.initrd"
        made["write_initrd"](kernel, start)
        sets = [f"boot.kernel={kernel.bzimage}", f"boot.initrd={start}", f"vm.vcpus={vcpus}", "vm.timeout=15min"]
        sets += [f"vm.transport={request.param}", f"device[5].queues={vcpus}"]
        Document.open(spec, tuple(sets)).plan()  # unpacks the kernel into the cache, where the lab finds it
        arguments = settings(spec, (*sets, f"{IMAGE}={PLACE / 'debian.img'}"))
        talks.append(Talk(f"{name}-{vcpus}", arguments, [STEPS[0], ("# ", "uname -r; nproc\n"), STEPS[-1]]))
    return stay(out, {"debian.img": str(EXAMPLE / "debian.img")}, talks, "1h")


@pytest.fixture(params=MODES)
def run(request, runs):
    return request.param, runs[request.param]


def test_it_boots_to_its_prompt_and_powers_off(run):
    _, run = run
    assert (run.result["status"], run.result["steps"]) == (0, len(STEPS)), run.console[-3000:] + run.log
    assert run.trace.summary["result"]["kind"] == "poweroff"


def test_its_root_is_the_disk(run):
    mode, run = run
    assert f"/dev/vda / ext4 {'ro' if mode == 'ro' else 'rw'}," in run.console
    assert "I/O error" not in run.console
    assert "virtio-blk0" not in run.log  # vmrun has nothing to say of the device


def test_only_what_was_written_to_the_image_is_there_in_the_next_run(run):
    mode, run = run
    assert ("\nkept by debian" in run.console) == (mode == "ro")  # the run after the one in the mode rw


def test_an_overlay_leaves_the_image_as_it_was(runs):
    with (EXAMPLE / "debian.img").open("rb") as file:
        assert runs["overlay"].result["after"] == [
            0,
            f"{hashlib.file_digest(file, 'sha256').hexdigest()}  debian.img\n",
        ]


def test_its_requests_are_in_the_trace(run):
    mode, run = run
    rows = run.trace.tables["requests"].table.to_pylist()
    kinds = {row["kind"] for row in rows if row["device"] == "virtio-blk0"}
    assert {"read"} < kinds if mode != "ro" else {"read"} <= kinds
    assert ("write" in kinds) == (mode != "ro")
    assert {row["status"] for row in rows} == {"ok"}


@pytest.mark.parametrize(("name", "vcpus"), OTHERS)
def test_each_kernel_boots_it_with_one_and_four_processors(others, name, vcpus):
    run = others[f"{name}-{vcpus}"]
    assert (run.result["status"], run.result["steps"]) == (0, 3), run.console[-3000:] + run.log
    assert f"\n{debian.kernel(name).release}\n{vcpus}\n" in run.userspace
    assert "I/O error" not in run.console
    assert "virtio-blk0" not in run.log
