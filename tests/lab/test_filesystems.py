"""Debian's kernels with a disk, in the lab: what was flushed outlives a vmrun that is killed, the driver resets the
disk a hundred times while it reads, and fio verifies what it wrote."""

import gzip
import re
import shutil
import subprocess
from pathlib import Path

import pyarrow.compute as pc
import pytest

from runner.backends.vhost import qcow2
from tests.guests import debian, initrd
from tests.lab.labruns import HERE, KERNELS, TRANSPORTS
from tests.lab.talks import PLACE, Talk, settings, stay
from tests.lab.test_boot import EXPECTED, SUSPICIOUS
from tests.lab.test_virtio import UNSIGNED
from vmspec.document import Document
from vmspec.registers import virtio as R
from vmspec.registers import virtiopci as V

pytestmark = [pytest.mark.lab, pytest.mark.soak, pytest.mark.stay("disk")]

SPEC = HERE / "disk.toml"
MODULES = ("virtio_mmio", "virtio_pci", "virtio_blk", "crc32c_generic", "ext4")
SIZE = 320 << 20
VCPUS = (1, 4)
DISK, TOOLS = "device[4].path", "device[5].path"
QCOW2 = "qcow2"
WAYS = [(transport, vcpus, "raw") for transport in TRANSPORTS for vcpus in VCPUS]
WAYS += [("mmio", 4, QCOW2), ("pci", 1, QCOW2)]
CHECK = ["/sbin/e2fsck", "-fn", "disk.img"]
# Of a qemu-storage-daemon that was killed, qemu-img finds clusters that nobody uses (3), and no errors.
CHECK_QCOW2 = "qemu-img check disk.img || test $? = 3; qemu-img convert -O raw disk.img raw && /sbin/e2fsck -fn raw"
FILE = 25  # MiB of each of eight files
RUNS = ("write", "verify", "reboot", "fio")


def disk_initrd(kernel, path):
    """Busybox, the modules, and this machine's mke2fs."""
    modules = debian.modules(kernel, MODULES)
    entries = initrd.busybox((HERE / "disk-init").read_bytes())
    entries["modules/list"] = initrd.regular(" ".join(modules).encode())
    for name, image in modules.items():
        entries[f"modules/{name}.ko"] = initrd.regular(debian.unsigned(image))
    entries |= initrd.program(debian.program("mke2fs", "e2fsprogs"))
    path.write_bytes(gzip.compress(initrd.archive(entries), 1, mtime=0))
    return path


def tools(path, **files):
    """A disk with what is too much for an initrd: fio and its libraries, a kernel to start anew with its initrd."""
    tree = path.with_suffix(".tree")
    for name, entry in {**initrd.busybox(b""), **initrd.program(debian.program("fio", "fio"))}.items():
        if entry.data:
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_bytes(entry.data)
            (tree / name).chmod(entry.mode & 0o777)
    for name, file in files.items():
        shutil.copyfile(file, tree / name)
    subprocess.run(["cc", "-static", "-O1", "-o", tree / "bin" / "kexec", HERE / "kexec.c"], check=True)
    for name in ("dev", "proc", "sys", "tmp"):
        (tree / name).mkdir(exist_ok=True)
    subprocess.run(["/sbin/mke2fs", "-q", "-t", "ext4", "-d", tree, path, "160M"], check=True)
    return path


def talks(name: str, transport: str, vcpus: int, form: str, out: Path):
    """The images and the runs of a stay."""
    kernel = debian.kernel(name)
    initial = disk_initrd(kernel, out / "initrd")
    sets = [f"boot.kernel={kernel.bzimage}", f"boot.initrd={initial}"]
    image = tools(out / "tools", kernel=kernel.bzimage, initrd=initial)
    (out / "stub").write_bytes(bytes(512))
    # Unpacks the kernel into the cache, where the lab finds it.
    Document.open(SPEC, (*sets, f"{DISK}={out / 'stub'}", f"{TOOLS}={image}")).plan()
    sets += [f"vm.transport={transport}", f"vm.vcpus={vcpus}", f"device[4].queues={vcpus}"]
    sets += [f"{DISK}={PLACE / 'disk.img'}", f"{TOOLS}={PLACE / 'tools.img'}"]
    check, disk = CHECK, SIZE
    if form == QCOW2:
        sets += ["device[4].format=qcow2", 'device[4].serial=""']
        (out / "empty").write_bytes(qcow2.empty(SIZE))
        check, disk = ["sh", "-ec", CHECK_QCOW2], str(out / "empty")
    made = []
    for run in RUNS:
        # kexec_load() of 60 MB takes longer here than the 20 s after which Linux would report a lockup.
        console = "console=ttyS0 panic=-1 reboot=k watchdog_thresh=60"
        cmdline = f"boot.cmdline={console} vmrun.do={run} vmrun.mib={FILE}"
        steps = [("disk: synced", None)] if run == "write" else []
        after = check if run == "verify" else []
        made.append(Talk(run, settings(SPEC, (*sets, cmdline)), steps, after))
    return {"disk.img": disk, "tools.img": str(image)}, made


@pytest.fixture(scope="module", params=KERNELS)
def kernel(request):
    return request.param


@pytest.fixture(scope="module", params=WAYS, ids=lambda way: f"{way[0]}-{way[1]}-{way[2]}")
def way(request):
    return request.param


@pytest.fixture(scope="module")
def runs(kernel, way, tmp_path_factory):
    out = tmp_path_factory.mktemp("disk")
    return stay(out, *talks(kernel, *way, out), "1h")


def ended(run):
    return run.console[-3000:] + run.log


def requests(run):
    """The rows of the disk's requests. Those that another process serves are not in the trace."""
    table = run.trace.tables.get("requests")
    return [row for row in table.table.to_pylist() if row["device"] == "virtio-blk0"] if table is not None else []


def test_what_was_synced_outlives_a_vmrun_that_is_killed(runs, way):
    written, verified = runs["write"], runs["verify"]
    assert (written.result["status"], written.result["steps"]) == (-9, 1), ended(written)
    assert "verified" in verified.facts, ended(verified)
    trace = written.trace
    assert (trace.complete, trace.summary["result"]["kind"]) == (True, "killed")
    length = sum(row["length"] for row in requests(written) if row["kind"] == "write")
    assert length >= 8 * FILE << 20 or way[2] == QCOW2


def test_a_hundred_resets_while_it_reads_leave_the_disk_as_it_is(runs):
    run = runs["verify"]
    assert run.result["status"] == 0, ended(run)
    assert {"rebound", "done"} <= {*run.facts}
    assert "failed" not in run.facts
    status, said = run.result["after"]
    assert status == 0, said


def test_a_queue_for_each_processor(runs, way):
    run, (_, vcpus, form) = runs["verify"], way
    assert run.facts["queues"] == str(vcpus)
    assert {row["queue"] for row in requests(run)} == {*range(vcpus if form == "raw" else 0)}


def test_nothing_is_written_into_a_rebooted_guest(runs, way):
    """Another kernel starts in the same machine while requests are in flight. Its driver resets the disk: each request
    of before has ended when the reset returns."""
    run, (transport, _, form) = runs["reboot"], way
    assert run.result["status"] == 0, ended(run)
    assert run.console.count("vmrun: userspace") == 2
    assert "rebooted" in run.facts, ended(run)
    assert "failed" not in run.facts
    if form == QCOW2:
        return
    reset = {"mmio": R.STATUS, "pci": V.DEVICE_STATUS}[transport]
    exits = run.trace.table.filter(pc.equal(run.trace.table["device"], "virtio-blk0")).to_pylist()
    writes = [row for row in exits if row["direction"] == "write" and row["data"] == 0]
    last = [row for row in writes if row["addr"] & 0x3FFF == reset][-1]
    before = [row for row in requests(run) if row["t_available"] < last["t_exit"]]
    assert sum(row["kind"] == "read" for row in before) > 10
    assert all(row["t_done"] < last["t_entry"] for row in before)


def test_fio_verifies_what_it_wrote(runs, way):
    run = runs["fio"]
    assert run.result["status"] == 0, ended(run)
    assert "failed" not in run.facts
    assert [*run.facts].count("fio") == 1
    if way[2] == QCOW2:
        return
    rows = requests(run)
    assert {row["status"] for row in rows} == {"ok"}
    assert len({row["length"] for row in rows if row["kind"] == "write"}) > 50  # sizes at random


@pytest.mark.parametrize("kind", RUNS)
def test_no_driver_complains(runs, kind):
    run = runs[kind]
    text = run.console.partition("vmrun: userspace")[2]
    lines = [line for line in text.splitlines() if SUSPICIOUS.search(line) and not re.match("fio: multiple", line)]
    # A read that its reset has ended fails in the guest.
    known = [text for text, _ in (*EXPECTED, UNSIGNED)] + ["I/O error, dev vda", "Buffer I/O error on dev vda"]
    assert [line for line in lines if not any(text in line for text in known)] == []
    assert "must reset it" not in run.log
    assert "failed on the host" not in run.log
