"""Debian's network driver with virtual time, in the lab: the guest gets an address and a page, and that is replayed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import tracer
from tests.lab.beside import example
from tests.lab.labruns import stayed

pytestmark = [pytest.mark.lab, pytest.mark.soak]

RUNS = int(os.environ.get("VMRUN_LAB_REPLAYS", "5"))
VMRUN = Path(sys.executable).with_name("vmrun")
SCRIPT = """cd "$0"
"$1" -m http.server -d www -b 127.0.0.1 8000 >/run/server 2>&1 &
for run in $(seq "$3"); do
    "$2" recorded.toml --trace /run/$run.arrow >/run/$run.console 2>&1; echo $? >/run/$run.status
    "$2" --replay /run/$run.arrow >/run/$run.replay 2>&1; echo $? >/run/$run.replay.status
    cp /run/$run.* .
done
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the runs and their replays left."""
    out = tmp_path_factory.mktemp("recorded") / "network"
    example("network", out, "recorded.toml")
    (out / "www").mkdir()
    (out / "www" / "page").write_text("this host's page\n")
    timeout = f"{10 + 10 * RUNS}m"
    stayed("--timeout", timeout, "--share", out, "--", "sh", "-c", SCRIPT, out, sys.executable, VMRUN, str(RUNS))
    return out


@pytest.mark.parametrize("run", range(1, RUNS + 1))
def test_the_guest_gets_its_address_and_the_page(folder, run):
    said = (folder / f"{run}.console").read_text()
    assert (folder / f"{run}.status").read_text() == "0\n", said
    assert "network: address 10.0.2.15/24" in said
    assert "this host's page" in said


@pytest.mark.parametrize("run", range(1, RUNS + 1))
def test_each_frame_that_it_got_is_recorded(folder, run):
    trace = tracer.load(folder / f"{run}.arrow")
    inputs = [row for row in trace.tables["inputs"].table.to_pylist() if row["kind"] == "bytes"]
    requests = [row for row in trace.tables["requests"].table.to_pylist() if row["kind"] == "receive" and row["length"]]
    assert [len(row["data"]) - 12 for row in inputs] == [row["length"] for row in requests]
    assert any(b"this host's page" in row["data"] for row in inputs)


@pytest.mark.parametrize("run", range(1, RUNS + 1))
def test_it_replays_on_kvm_without_a_network(folder, run):
    said = (folder / f"{run}.replay").read_text()
    assert (folder / f"{run}.replay.status").read_text() == "0\n", said
    assert "exits are as recorded" in said


@pytest.mark.parametrize("run", range(1, RUNS + 1))
def test_todays_device_models_do_as_recorded(folder, run):
    done = subprocess.run([VMRUN, "replay", folder / f"{run}.arrow"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
