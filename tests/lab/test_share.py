"""Debian's own drivers and devices that another process serves, in the lab: the example's folder by virtiofsd, and a
disk whose image is qcow2 by qemu-storage-daemon."""

import hashlib
import re
import shutil
import sys
from pathlib import Path

import pytest

import tracer
from runner.backends.vhost import qcow2
from tests.lab.labruns import HERE, ROOT, prepared, stayed
from tracer.analysis.facts import facts

pytestmark = [pytest.mark.lab, pytest.mark.soak, pytest.mark.stay("share")]

EXAMPLE = ROOT / "examples" / "share"
VMRUN = Path(sys.executable).with_name("vmrun")
DISK = '\n[[device]]\nkind = "virtio-blk"\npath = "disk.qcow2"\nformat = "qcow2"\n'
# The files are in the emulated host's memory meanwhile.
SCRIPT = """
mkdir /run/here && cp -a "$0"/. /run/here && cd /run/here
"$1" checked.toml --set vm.transport="$2" >said 2>&1; echo $? >status
ps axo args | grep -cE '[v]irtiofsd|[q]emu-storage-daemon' >left
cp -a said status left folder/from-guest folder/work/hard checked.* "$0"
echo $(md5sum <folder/work/large | cut -d " " -f 1) $(stat -c %s folder/work/large) >"$0"/large
"""
SMALL = {"FILES": 50, "BYTES": 1_000_000, "TURNS": 2}
# Ten thousand files, a gigabyte, and a hundred resets.
LARGE = {"FILES": 10_000, "BYTES": 1_000_000_000, "TURNS": 0}
RESETS = {"FILES": 10, "BYTES": 1_000_000, "TURNS": 100}
RUNS = {"mmio": ("mmio", SMALL), "pci": ("pci", SMALL), "large": ("pci", LARGE), "resets": ("mmio", RESETS)}


class Stay:
    """What a run has left; ``wanted`` are the sizes that it was given."""

    def __init__(self, out, transport, wanted):
        self.out, self.transport, self.wanted = out, transport, wanted
        self.said = (out / "said").read_text(errors="replace")

    def value(self, what):
        """What the guest printed after a word."""
        found = re.search(rf"^{what} (.*?)\r?$", self.said, re.MULTILINE)
        assert found, self.said
        return found[1]


@pytest.fixture(scope="module", params=RUNS)
def stay(request, tmp_path_factory):
    transport, wanted = RUNS[request.param]
    out = tmp_path_factory.mktemp("share")
    for name in ("init", "prepare.py", "share.toml"):
        shutil.copy(EXAMPLE / name, out)
    prepared(EXAMPLE, out, "(*prepare.DRIVERS, 'virtio_blk')")
    work = out / "folder" / "work"
    work.mkdir()
    (work / "from-host").write_bytes(bytes(range(256)) * 4096)
    sizes = "".join(f"{name}={value}\n" for name, value in wanted.items())
    (out / "folder" / "check").write_text(sizes + (HERE / "share-check").read_text())
    spec = (out / "share.toml").read_text().replace("quiet", "quiet vmrun.run=check").replace('"1min"', '"20min"')
    (out / "checked.toml").write_text(spec.replace("share.arrow", "checked.arrow") + DISK)
    (out / "disk.qcow2").write_bytes(qcow2.empty(2 << 30))
    size = "8GiB" if wanted is LARGE else "2GiB"
    lab = ["--timeout", "25m", "--memory", size, "--share", out, "--", "sh", "-c", SCRIPT]
    stayed(*lab, out, VMRUN, transport)
    return Stay(out, transport, wanted)


def test_the_example_does_what_its_readme_says(stay):
    assert (stay.out / "status").read_text().strip() == "0", stay.said
    assert "this host's file" in stay.said
    assert (stay.out / "from-guest").read_text().startswith("6.1.")
    assert stay.value("share: transport") == f"virtio-{stay.transport}"
    assert "virtio-fs:" not in stay.said  # the driver
    assert "umount" not in stay.said
    assert "must reset it" not in stay.said


def test_files_arrive_whole_both_ways(stay):
    files, size = stay.wanted["FILES"], stay.wanted["BYTES"]
    assert stay.value("share: files") == f"{files} {sum(len(f'file {n}') + 1 for n in range(files))}"
    assert stay.value("share: host") == hashlib.md5(bytes(range(256)) * 4096).hexdigest()
    assert stay.value("share: again") == stay.value("share: large")
    assert (stay.out / "large").read_text().split() == [stay.value("share: large"), str(size)]


def test_the_folder_is_a_file_system(stay):
    assert stay.value("share: link") == "file 1 2 640"
    assert (stay.out / "hard").read_text() == "file 2\n"
    assert stay.value("share: hole") == "1048576"
    assert "No such file or directory" in stay.said
    assert "share: removed" in stay.said


def test_a_qcow2_disk_keeps_what_was_written(stay):
    assert stay.value("disk: size") == f"{4 << 20} write back"
    assert stay.value("disk: sum") == stay.value("share: large")


def test_nothing_is_left(stay):
    assert (stay.out / "left").read_text().strip() == "0"


def test_the_trace_has_the_notifications_and_says_what_it_lacks(stay):
    trace = tracer.load(stay.out / "checked.arrow")
    complete = facts(trace)["complete"]
    assert (complete["complete"], complete["unseen"]) == (True, ["virtio-fs0", "virtio-blk0"])
    assert {"virtio-fs0", "virtio-blk0"} <= {row["device"] for row in trace.table.select(["device"]).to_pylist()}
