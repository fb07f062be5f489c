"""Debian's own virtio drivers and vmrun's devices, in the lab."""

import re
from hashlib import blake2b

import pytest

from tests.lab.labruns import TRANSPORTS
from tests.lab.test_boot import EXPECTED, SUSPICIOUS
from tracer.analysis.kicks import Kicks
from vmspec.registers import virtio as R
from vmspec.registers import virtiopci as V

pytestmark = [pytest.mark.lab, pytest.mark.stay("linux")]

REFUSED = ("lab-ro: refused", "the guest tries to write to a disk that is read-only")
UNSIGNED = ("module verification failed", "the tests load modules without their signatures")
STARTS = 12  # of the driver of virtio-rng, at most: at boot, and as the device is bound again


@pytest.fixture(params=TRANSPORTS)
def transport(request):
    return request.param


@pytest.fixture
def run(lab, transport):
    return lab.run("sample", f"virtio-{transport}")


def said(run, what):
    """What the guest's init printed of a device, by its lines' first words."""
    return dict(re.findall(rf"^{what}: (\S+) ?(.*)$", run.userspace, re.MULTILINE))


def test_the_guest_ends_as_its_spec_expects(run):
    assert run.status == 0, run.log


def test_neither_linux_nor_a_driver_complains(run):
    boot, _, after = run.console.decode(errors="replace").partition("vmrun: userspace")
    bus = [line for line in boot.splitlines() if re.search(r"\bpci", line, re.IGNORECASE)]  # the rest: test_boot.py
    lines = [line for line in (*bus, *after.splitlines()) if SUSPICIOUS.search(line)]
    assert [line for line in lines if not any(known in line for known, _ in (*EXPECTED, UNSIGNED, REFUSED))] == []
    assert "must reset it" not in run.log


def test_the_driver_reads_the_seeds_bytes_from_the_start_again_after_it_was_bound_anew(run):
    """Linux itself takes some, in a thread of its own, when a source appears (drivers/char/hw_random/core.c): which are
    left differs. Ten bindings take 64 bytes each at the least, so bytes that far on would be of no new start."""
    blocks = (blake2b(at.to_bytes(8, "little"), key=(7).to_bytes(8, "little")).digest() for at in range(64))
    stream, found = b"".join(blocks), said(run, "rng")
    assert "virtio_rng.0" in found
    assert found["status"] == "0x0000000f"
    for read in (found["bytes"], found["again"]):
        assert len(read) == 64
        assert 0 <= stream.find(bytes.fromhex(read)) < 10 * 64


def test_the_trace_has_every_notification(run, transport):
    rows = [row for row in run.trace.table.to_pylist() if row["device"] == "virtio-rng0"]
    written = [(row["addr"] & 0x3FFF, row["data"]) for row in rows if row["direction"] == "write"]
    status, notify = (R.STATUS, R.QUEUE_NOTIFY) if transport == "mmio" else (V.DEVICE_STATUS, V.NOTIFY)
    kicks = [value for offset, value in written if offset == notify]
    assert written.count((status, 0)) >= 11  # the first driver and ten more
    assert kicks
    assert {*kicks} == {0}


def test_the_trace_has_every_request_with_its_notification(run):
    """Linux tells of each request to this device: its driver sends one at a time (drivers/char/hw_random)."""
    requests = run.trace.tables["requests"]
    rows, kicks = [row for row in requests.table.to_pylist() if row["device"] == "virtio-rng0"], Kicks(run.trace)
    assert requests.complete
    assert rows
    assert {(row["device"], row["queue"], row["kind"], row["status"]) for row in rows} == {
        ("virtio-rng0", 0, "entropy", "ok")
    }
    assert all(0 < row["bytes_in"] == row["length"] <= row["room"] for row in rows)
    assert all(row["t_available"] <= row["t_taken"] <= row["t_done"] for row in rows)
    told = [kicks.before(row["device"], row["queue"], row["t_available"]) for row in rows]
    # The first may be found as the driver starts the device, before its notification: it has none, or that before.
    told = [kick for row, kick in zip(rows, told, strict=True) if kick is not None or row is not rows[0]]
    assert None not in told
    assert len({(kick.vcpu, kick.seq) for kick in told}) >= len(rows) - STARTS  # each other one has one of its own
    assert all(kick.rip >> 47 == (1 << 17) - 1 for kick in told)  # the kernel's code


def test_a_driver_has_the_transport_that_the_spec_says(run, transport):
    found = said(run, "rng")
    assert found["transport"] == {"mmio": "virtio-mmio", "pci": "virtio-pci"}[transport]
    assert int(found["interrupts"]) > 0


def test_debians_console_has_text_and_a_result_on_a_named_port(run):
    assert said(run, "console") == {"port": "result", "status": "0x0000000f"}
    assert run.trace.console("virtio-console0") == b"text on hvc0\r\n"
    assert run.trace.console("virtio-console0.result") == b"PASS\n"


def test_debians_balloon_returns_memory(run):
    found = said(run, "balloon")
    assert found["status"] == "0x0000000f"
    assert int(found["inflated"]) >= 2048  # pages, each time that it was bound
    writes = [row for row in run.trace.table.to_pylist() if row["device"] == "virtio-balloon0"]
    assert 2048 in [row["data"] for row in writes if row["direction"] == "write" and row["size"] == 4]
