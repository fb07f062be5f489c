"""Linux with a disk and timers in the lab, stopped at snapshots and gone on from each: no write is lost, and its clock
goes on from where it stood. ``VMRUN_LAB_SNAPSHOTS`` is the number of cycles."""

import gzip
import json
import os
import re
import subprocess
import sys
from itertools import pairwise

import pytest

from tests.guests import debian, initrd
from tests.lab.labruns import HERE, stayed
from vmspec.document import Document

pytestmark = [pytest.mark.lab, pytest.mark.soak]

CYCLES = int(os.environ.get("VMRUN_LAB_SNAPSHOTS", "50"))
MODULES = ("virtio_mmio", "virtio_pci", "virtio_blk", "crc32c_generic", "ext4")
GAP = 20.0  # seconds between two ticks: the emulated host is slow, most of all while a guest's memory comes in
SUSPICIOUS = re.compile(
    r"BUG:|WARNING:|soft lockup|rcu.*stall|clocksource: timekeeping|I/O error|EXT4-fs (error|warning)"
)


@pytest.fixture(scope="module", params=["mmio", "pci"])
def stay(request, tmp_path_factory):
    """What the guest printed, and what inside/snapshots.py found."""
    out = tmp_path_factory.mktemp("snapshots")
    kernel = debian.kernel("6.1-cloud")
    modules = debian.modules(kernel, MODULES)
    entries = initrd.busybox((HERE / "snapshot-init").read_bytes())
    entries["modules/list"] = initrd.regular(" ".join(modules).encode())
    for name, image in modules.items():
        entries[f"modules/{name}.ko"] = initrd.regular(debian.unsigned(image))
    (out / "initrd").write_bytes(gzip.compress(initrd.archive(entries), mtime=0))
    subprocess.run([debian.program("mke2fs", "e2fsprogs"), "-q", "-t", "ext4", out / "disk.img", "64M"], check=True)
    sets = (
        f"boot.kernel={kernel.bzimage}",
        f"boot.initrd={out / 'initrd'}",
        f"vm.transport={request.param}",
    )
    spec = HERE / "snapshot.toml"
    Document.open(spec, (*sets, f"device[4].path={out / 'disk.img'}")).plan()  # unpacks the kernel into the cache
    (out / "linux.json").write_text(json.dumps({"spec": str(spec), "overrides": sets}))
    inside = (sys.executable, HERE / "inside" / "snapshots.py", out, str(CYCLES))
    stayed("--timeout", "1h", "--share", out, "--", *inside)
    return (out / "console").read_text(errors="replace"), json.loads((out / "result.json").read_text())


def test_the_guest_ends_in_order(stay):
    console, result = stay
    assert (result["kind"], result["detail"], result["cycles"]) == ("reset", "", CYCLES), console[-2000:]
    assert "snapshot: done" in console


def test_nothing_failed_and_linux_warns_of_nothing(stay):
    console, _ = stay
    later = console.partition("clocksource ")[2]  # what comes before, tests/lab/test_boot.py looks at
    assert [line for line in later.splitlines() if "snapshot: failed" in line or SUSPICIOUS.search(line)] == []


def test_no_write_was_lost_and_none_made_twice(stay):
    console, _ = stay
    numbers = [int(number) for number in re.findall(r"wrote (\d+)$", console, re.MULTILINE)]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) > CYCLES


def test_the_clock_goes_on_from_where_it_stood(stay):
    console, result = stay
    for cpu in "01":
        ticks = [float(time) for time in re.findall(rf"tick {cpu} \d+ ([\d.]+)$", console, re.MULTILINE)]
        gaps = [later - earlier for earlier, later in pairwise(ticks)]
        assert len(ticks) > CYCLES
        assert (min(gaps) >= 0, max(gaps) < GAP) == (True, True), (min(gaps), max(gaps))
        assert ticks[-1] - ticks[0] < result["seconds"] * 1.1 + GAP  # it did not run while it was in a file
