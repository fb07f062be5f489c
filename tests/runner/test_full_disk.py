"""Disks that fill at any moment: the ring file, the trace or the console finds no room."""

import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tracer

pytestmark = pytest.mark.kvm

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}
FLOOD = "e6 80 eb fc"  # out 0x80, al
PRINTING = "b0 41 ba f8 03 ee eb fd"  # 'A' to the serial port
PATIENCE = 60  # seconds of a run that must end by itself
# Runs vmrun's command, then says what it leaves: the status, children, the folder's files; and recovers the trace.
TOLD = """
import json, os, sys
from runner.cli import main
from runner.recording import process
from tracer.cli import main as vmtrace

directory, out, spec = sys.argv[1:]
left = {"status": main([spec])}
process.end()
try:
    os.waitpid(-1, os.WNOHANG)
    left["child"] = True
except ChildProcessError:
    left["child"] = False
os.chdir(directory)
left["files"] = sorted(os.listdir())
if os.path.exists("guest.arrows") or os.path.exists("guest.ring"):
    left["recovered"] = vmtrace(["recover", "guest.arrow", "--output", out])
print(json.dumps(left))
"""


def on_small_disk(directory: Path, size: int, *command: object) -> subprocess.CompletedProcess[str]:
    """Run a command in a mount namespace in which the directory is an empty file system of so many bytes."""
    directory.mkdir(exist_ok=True)
    script = 'mount -t tmpfs -o size="$1" none "$2" && shift 2 && exec "$@"'
    unshare = ["unshare", "--mount", "--map-root-user", "sh", "-c", script, "sh", str(size), directory]
    done = subprocess.run(
        [*unshare, *command], env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no mount namespace here: {done.stderr.strip()}")
    return done


SERIAL = {"kind": "serial", "input": "none", "output": "disk/console"}
KIB = 1 << 10
# What fills the disk: the guest, its devices, its trace, the sizes of the disk.
GUESTS = {
    "the trace": (FLOOD, [], "disk/guest.arrow", (64 * KIB, 6144 * KIB)),
    "the console": (PRINTING, [SERIAL], "guest.arrow", (4 * KIB, 256 * KIB)),
    "both": (PRINTING, [SERIAL], "disk/guest.arrow", (64 * KIB, 6144 * KIB)),
}


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(1, 20))])
@pytest.mark.parametrize("what", GUESTS)
def test_a_disk_that_fills_at_any_moment(write_spec, tmp_path, what, seed):
    code, devices, path, sizes = GUESTS[what]
    disk, out = tmp_path / "disk", tmp_path / "recovered.arrow"
    spec = write_spec(code, devices=devices, trace={"path": path, "ring": 1024})
    size = random.Random(f"{what} {seed}").randrange(*sizes)
    done = on_small_disk(disk, size, sys.executable, "-c", TOLD, disk, out, spec)
    left = json.loads(done.stdout.splitlines()[-1])
    assert (left["status"], left["child"]) == (6, False), (size, done.stderr)
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    made = re.search(r"([\d,]+) exits?, ", done.stderr)
    if made is None:  # there was no room for the rings: the guest never ran
        assert left["files"] == []
        return
    lost = re.search(r"([\d,]+) exits? w[a-z]+ not recorded", done.stderr)
    rows = int(made[1].replace(",", "")) - (int(lost[1].replace(",", "")) if lost else 0)
    trace = tracer.load(out if "recovered" in left else tmp_path / path)
    assert (left.get("recovered", 0), trace.table.num_rows) == (0, rows), (size, done.stderr)
