"""Debian's own driver and vmrun's disks, in the lab: a file system, the modes, the table of requests."""

import hashlib
import re
import subprocess

import pyarrow.compute as pc
import pytest

from tests.lab.labruns import DISK, TRANSPORTS
from tests.lab.test_virtio import said
from tracer.analysis.kicks import Kicks
from tracer.decode.mmio import notified_queue

pytestmark = [pytest.mark.lab, pytest.mark.stay("linux")]

WRITTEN = 4 * 250_000  # bytes of files, by virtio-init
# Linux's Documentation/admin-guide/iostats.rst: after the name, requests and sectors by kind.
DISKSTATS = ("read", None, "read sectors", None, "write", None, "write sectors", None, None, None, None,
             "discard", None, "discard sectors", None, "flush")  # fmt: skip


@pytest.fixture(params=TRANSPORTS)
def run(lab, request):
    return lab.run("sample", f"virtio-{request.param}")


@pytest.fixture(params=["virtio-blk0", "virtio-blk1"], ids=["rw", "overlay"])
def written(request, run):
    """A disk that the guest has written to: what it counted of it, and its requests."""
    rows = [row for row in run.trace.tables["requests"].table.to_pylist() if row["device"] == request.param]
    found = said(run, {"virtio-blk0": "lab-rw", "virtio-blk1": "lab-overlay"}[request.param])
    numbers = map(int, re.search(r" vd. (.*)", found["diskstats"])[1].split())
    counted = {name: number for name, number in zip(DISKSTATS, numbers, strict=False) if name}
    # A flush that comes without data (block_bio_queue shows no sectors) is to Linux a write of its own beside the flush
    # of the device: block/blk-flush.c ends both, and one flush of the device may serve several.
    return counted | {"write": counted["write"] - int(found["empty"])}, rows


def test_linux_finds_what_it_wrote(run):
    for disk in ("lab-rw", "lab-overlay"):
        found = said(run, disk)
        assert "verified" in found, run.console.decode(errors="replace")[-3000:]
        assert "failed" not in found


def test_the_driver_reads_the_configuration(run):
    for disk, read_only in (("lab-rw", "0"), ("lab-overlay", "0"), ("lab-ro", "1")):
        found = said(run, disk)
        assert (found["size"], found["ro"], found["cache_type"]) == (str(len(DISK) // 512), read_only, "write back")
        assert (found["logical_block_size"], found["physical_block_size"]) == ("512", "4096")
        assert found["max_segments"] == "254"
        assert found["discard_granularity"] == ("0" if read_only == "1" else "512")


def test_the_guest_reads_the_image(run):
    whole = hashlib.md5(DISK).hexdigest()
    assert [said(run, disk)["sum"] for disk in ("lab-rw", "lab-overlay", "lab-ro")] == [whole] * 3
    assert said(run, "lab-ro")["after"] == whole  # the driver was unbound and bound meanwhile


def test_linux_refuses_to_write_to_a_read_only_disk(run):
    assert said(run, "lab-ro")["refused"] == "dd: error writing '/dev/vdc': Operation not permitted"


def test_an_overlay_and_a_read_only_disk_leave_the_image_alone(run):
    for mode in ("overlay", "ro"):
        assert (run.path.parent / f"{mode}.img").read_bytes() == DISK


def test_the_image_has_the_file_system_and_the_files(run):
    image = run.path.parent / "rw.img"
    checked = subprocess.run(["/sbin/e2fsck", "-fn", image], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr

    def content(path):
        return subprocess.run(["/sbin/debugfs", "-R", f"cat {path}", image], capture_output=True, check=True).stdout

    sums = dict(reversed(line.split()) for line in content("/sums").decode().splitlines())
    for name in ("1", "2", "3"):  # it has removed the fourth
        assert hashlib.md5(content(f"/{name}")).hexdigest() == sums[name]


def test_the_requests_are_those_that_linux_counts(written):
    counted, rows = written
    assert counted["write sectors"] * 512 >= WRITTEN

    def those(*kinds):
        return [row for row in rows if row["kind"] in kinds]

    reads, writes = those("read"), those("write", "write-zeroes")
    assert counted == {
        "read": len(reads),
        "read sectors": sum(row["length"] for row in reads) // 512,
        "write": len(writes),
        "write sectors": sum(row["length"] for row in writes) // 512,
        "discard": len(those("discard")),
        "discard sectors": sum(row["length"] for row in those("discard")) // 512,
        "flush": len(those("flush")),
    }
    assert {row["kind"] for row in rows} == {"read", "write", "write-zeroes", "flush", "discard", "get-id"}
    assert {row["status"] for row in rows} == {"ok"}


def test_each_request_has_its_notification_among_the_exits(run, written):
    """Linux tells of some requests at once, and tells of nothing else."""
    _, rows = written
    kicks, device = Kicks(run.trace), rows[0]["device"]
    told = [kicks.before(device, row["queue"], row["t_available"]) for row in rows]
    assert None not in told[1:]  # the first may be found as the driver starts the device
    exits = run.trace.table.filter(pc.equal(run.trace.table["device"], device)).to_pylist()
    queues = [notified_queue(row["addr"], row["data"]) for row in exits if row["direction"] == "write"]
    assert 0 < queues.count(0) <= len(rows)
    assert {*queues} == {None, 0}
