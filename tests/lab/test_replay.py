"""Recordings of Debian's kernels with virtual time: on KVM and by the device models alone they end as they did."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import tracer
from tests.lab.labruns import repeat_example, stayed

pytestmark = [pytest.mark.lab, pytest.mark.soak]

RUNS = int(os.environ.get("VMRUN_LAB_REPLAYS", "5"))
VMRUN = Path(sys.executable).with_name("vmrun")
# Without and with a disk, whose requests are in the table of DMA, and with a disk and the device tsc.
BOOTS = [(kernel, spec) for spec in ("repeat", "disk", "exact") for kernel in ("6.1-cloud", "6.12-cloud")]
SCRIPT = """cd "$0"
for run in $(seq "$2"); do
    "$1" "$3.toml" --set trace.full=wait --set trace.inputs=true --trace /run/$run.arrow >/run/$run.console 2>&1
    echo $? >/run/$run.status
    "$1" --replay /run/$run.arrow >/run/$run.replay 2>&1; echo $? >/run/$run.replay.status
    cp /run/$run.* .
done
"""


@pytest.fixture(scope="module", params=BOOTS, ids="-".join)
def boot(request, tmp_path_factory):
    """The folder with what the runs of a kernel and their replays left, and the spec's name."""
    out = tmp_path_factory.mktemp("replay")
    kernel, spec = request.param
    repeat_example(out, kernel, spec)
    stayed("--timeout", f"{5 + 7 * RUNS}m", "--share", out, "--", "sh", "-c", SCRIPT, out, VMRUN, str(RUNS), spec)
    return out, spec


@pytest.mark.parametrize("run", range(1, RUNS + 1))
def test_a_boot_replays_to_its_end(boot, run, request):
    folder, spec = boot
    if spec == "disk":
        reason = "Linux places its buffers by the host's TSC, and the writes go to where they were"
        request.applymarker(pytest.mark.xfail(strict=True, reason=reason))
    assert (folder / f"{run}.status").read_text() == "0\n", (folder / f"{run}.console").read_text()
    said = (folder / f"{run}.replay").read_text()
    assert (folder / f"{run}.replay.status").read_text() == "0\n", said
    assert "exits are as recorded" in said


@pytest.mark.parametrize("run", range(1, RUNS + 1))
def test_a_boot_with_a_disk_has_the_reads_of_its_root_file_system(boot, run):
    folder, spec = boot
    tables = tracer.load(folder / f"{run}.arrow").tables
    if spec == "repeat":
        assert "dma" not in tables
    else:
        rows = tables["dma"].table.to_pylist()
        assert {row["device"] for row in rows} == {"virtio-rng0", "virtio-blk0"}
        assert sum(len(row["data"]) for row in rows) > 1 << 20


@pytest.mark.parametrize("run", range(1, RUNS + 1))
def test_todays_device_models_answer_a_boot_as_recorded(boot, run):
    folder, _ = boot
    command = [VMRUN, "replay", folder / f"{run}.arrow", "--images", folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
