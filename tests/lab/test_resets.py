"""Debian's own virtio drivers that are unbound and bound in the middle of their traffic, in the lab."""

from hashlib import sha256

import pytest

from tests.lab.labruns import IMAGE_FILE, RESETS, TRANSPORTS
from tests.lab.test_boot import SUSPICIOUS
from tests.lab.test_virtio import UNSIGNED, said
from vmspec.registers import virtio as R
from vmspec.registers import virtiopci as V

# nd_pmem says so of each virtio-pmem, whatever flush it has (nvdimm_has_flush(), drivers/nvdimm/region_devs.c).
# virtcons_remove() breaks the queues, then waits for messages of the device's that are being handled: their buffers do
# not go back (control_work_handler() and add_port(), drivers/char/virtio_console.c).
EXPECTED = (
    "unable to guarantee persistence of writes",
    "Error adding buffer to queue",
    "Error allocating inbufs",
    UNSIGNED[0],
)
OFFSET = {"mmio": 0xFFF, "pci": 0x3FFF}  # bits of an address within the registers

pytestmark = [pytest.mark.lab, pytest.mark.soak, pytest.mark.stay("linux")]


@pytest.fixture(params=TRANSPORTS)
def transport(request):
    return request.param


@pytest.fixture
def run(lab, transport):
    return lab.run(f"resets-{transport}", "resets")


def test_the_guest_ends_well(run):
    assert run.status == 0, run.log
    after = run.console.decode(errors="replace").partition("vmrun: userspace")[2]
    lines = [line for line in after.splitlines() if SUSPICIOUS.search(line)]
    assert [line for line in lines if not any(known in line for known in EXPECTED)] == []
    assert "must reset it" not in run.log


def test_an_image_in_memory_is_a_disk_without_a_page_cache(run):
    found = said(run, "pmem")
    assert found["status"] == "0x0000000f"
    assert int(found["sectors"]) * 512 == 18 << 20  # 4100 blocks of 4 KiB, up to a multiple of 2 MiB
    assert found["dax"] == "1"
    assert {"ro", "dax=always"} <= {*found["options"].split(",")}
    assert found["sum"] == sha256(IMAGE_FILE).hexdigest()


def test_what_is_written_to_an_image_in_memory_is_flushed(run):
    assert said(run, "pmem")["then"] == "a change"
    rows = [row for row in run.trace.tables["requests"].table.to_pylist() if row["device"] == "virtio-pmem0"]
    assert {(row["kind"], row["status"], row["bytes_out"], row["bytes_in"]) for row in rows if row["status"]} == {
        ("flush", "ok", 4, 4)
    }


def test_each_device_works_after_its_resets(run, transport):
    drivers = ("virtio_rng", "virtio_console", "virtio_balloon", "virtio_pmem")
    assert said(run, "resets") == dict.fromkeys(drivers, "0x0000000f")
    status = R.STATUS if transport == "mmio" else V.DEVICE_STATUS
    rows = [row for row in run.trace.table.to_pylist() if row["direction"] == "write"]
    for device in ("virtio-rng0", "virtio-console0", "virtio-balloon0", "virtio-pmem0"):
        written = [(row["addr"] & OFFSET[transport], row["data"]) for row in rows if row["device"] == device]
        assert written.count((status, 0)) >= RESETS
