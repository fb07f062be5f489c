"""A Debian system boots from its disk to a login prompt, in each mode and by each transport: examples/disk."""

import hashlib
import subprocess
import sys

import pytest

from tests.lab.labruns import ROOT, TRANSPORTS
from tests.lab.talks import PLACE, Talk, settings, stay

pytestmark = [pytest.mark.lab, pytest.mark.soak, pytest.mark.stay("debian")]

EXAMPLE = ROOT / "examples" / "disk"
IMAGE = "device[5].path"
MODES = ("overlay", "rw", "ro")  # in this order: the overlay leaves nothing for the next run, "rw" does
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
