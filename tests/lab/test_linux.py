"""Linux in the lab by what the commands write: a new spec, its bundle, its trace run again, and a campaign of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import tomli_w

import tracer
from tests.guests import debian, initrd
from tests.lab.labruns import stayed, userspace
from vmspec.document import Document

pytestmark = [pytest.mark.lab, pytest.mark.soak]

BOOTS = int(os.environ.get("VMRUN_LAB_BOOTS", "200"))
BIN = Path(sys.executable).parent
# The bundle's lock has this host's CPUID.
ONCE = """cd "$0"
for run in new.toml "new.vmz --unlocked" "new.arrow --images images"; do
    "$1"/vmrun $run --trace ran.arrow >console 2>log
    echo $? >status
    mkdir -p "${run%% *}.d" && mv console log status ran.arrow "${run%% *}.d"
    test "$run" != new.toml || cp new.toml.d/ran.arrow new.arrow
done
"""
# Another stay goes on with the boots that one left whose emulated host hung. It needs the journal only: /run has no
# room for what all runs have left that were under way.
MANY = """cd "$0"
mkdir -p /run/boots boots
test ! -e boots/runs.journal || cp boots/runs.journal /run/boots
"$1"/vmrun campaign boots.campaign.toml -j 2 -o /run/boots &
while kill -0 $! 2>/run/gone; do
    sleep 20
    cp /run/boots/runs.journal boots/new && mv boots/new boots/runs.journal
done
wait $!
echo $? >status
cp -r /run/boots "$0"
"""


def stay(out, script, timeout):
    lab = ["--smp", "3", "--timeout", timeout, "--share", out, "--", "sh", "-c", script, out, BIN]
    stayed(*lab)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the spec that vmspec new writes."""
    out = tmp_path_factory.mktemp("linux")
    (out / "images").mkdir()
    kernel, start = out / "images" / "vmlinuz", out / "images" / "initrd.img"
    kernel.write_bytes(debian.kernel("6.1-cloud").bzimage.read_bytes())
    initrd.write(start)
    new = [BIN / "vmspec", "new", "linux", "--kernel", kernel, "--initrd", start]
    (out / "new.toml").write_text(subprocess.run(new, stdout=subprocess.PIPE, text=True, check=True).stdout)
    Document.open(out / "new.toml").plan()  # unpacks the kernel into the cache, where the lab finds it
    return out


@pytest.fixture(scope="module")
def once(folder):
    subprocess.run([BIN / "vmspec", "bundle", folder / "new.toml", "-o", folder / "new.vmz"], check=True)
    stay(folder, ONCE, "15m")
    return folder


@pytest.fixture(params=["new.toml", "new.vmz", "new.arrow"])
def ran(request, once):
    return once / f"{request.param}.d"


def test_the_guest_reaches_userspace_and_resets(ran):
    assert (ran / "status").read_text() == "0\n", (ran / "log").read_text()
    assert userspace((ran / "console").read_bytes()).startswith("vmrun: userspace\n1\n")
    trace = tracer.load(ran / "ran.arrow")
    assert (trace.complete, trace.summary["result"]["kind"]) == (True, "reset")


@pytest.fixture(scope="module")
def boots(folder):
    """A campaign of so many boots, by one and two vCPUs."""
    campaign = {
        # An emulated host whose processors others use too may need minutes for a boot.
        "campaign": {"specs": ["new.toml"], "repeat": BOOTS // 2, "traces": "failed", "timeout": "10min"},
        "axes": {"vm.vcpus": [1, 2]},
    }
    (folder / "boots.campaign.toml").write_text(tomli_w.dumps(campaign))
    stay(folder, MANY, "3h")
    return folder


def test_each_boot_is_a_row(boots):
    assert (boots / "status").read_text() == "0\n"
    rows = pq.read_table(boots / "boots" / "runs.parquet").to_pylist()
    assert len(rows) == BOOTS // 2 * 2
    assert {(row["kind"], row["status"]) for row in rows} == {("reset", 0)}
    assert {str(row["set.vm.vcpus"]) for row in rows} == {"1", "2"}


def test_the_campaign_is_read(boots):
    command = [BIN / "vmtrace", "campaign", boots / "boots", "--json"]
    read = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    assert {row["runs"] for row in read["machines"]} == {BOOTS // 2}
