"""Recordings of Debian's kernels with virtual time: on KVM and by the device models alone they end as they did."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.labruns import repeat_example, stayed

pytestmark = [pytest.mark.lab, pytest.mark.soak]

RUNS = int(os.environ.get("VMRUN_LAB_REPLAYS", "5"))
VMRUN = Path(sys.executable).with_name("vmrun")
SCRIPT = """cd "$0"
for run in $(seq "$2"); do
    "$1" repeat.toml --set trace.full=wait --trace /run/$run.arrow >/run/$run.console 2>&1; echo $? >/run/$run.status
    "$1" --replay /run/$run.arrow >/run/$run.replay 2>&1; echo $? >/run/$run.replay.status
    cp /run/$run.* .
done
"""


@pytest.fixture(scope="module", params=["6.1-cloud", "6.12-cloud"])
def folder(request, tmp_path_factory):
    """What the runs of a kernel and their replays left."""
    out = tmp_path_factory.mktemp("replay")
    repeat_example(out, request.param)
    stayed("--timeout", f"{5 + 5 * RUNS}m", "--share", out, "--", "sh", "-c", SCRIPT, out, VMRUN, str(RUNS))
    return out


@pytest.mark.parametrize("run", range(1, RUNS + 1))
def test_a_boot_replays_to_its_end(folder, run):
    assert (folder / f"{run}.status").read_text() == "0\n", (folder / f"{run}.console").read_text()
    said = (folder / f"{run}.replay").read_text()
    assert (folder / f"{run}.replay.status").read_text() == "0\n", said
    assert "exits are as recorded" in said


@pytest.mark.parametrize("run", range(1, RUNS + 1))
def test_todays_device_models_answer_a_boot_as_recorded(folder, run):
    done = subprocess.run([VMRUN, "replay", folder / f"{run}.arrow"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
