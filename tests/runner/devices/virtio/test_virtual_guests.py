"""Virtio devices of machines with virtual time: small flat guests, whose exits are the same in every run."""

import struct
from itertools import pairwise

import pytest

import tracer
from runner.replay.recording import Recording
from tests.fakes.flatdriver import AVAILABLE, DATA, HERE, USED, describe, put, show, start, store
from tests.runner.devices.virtio.test_blk import contents
from vmspec.registers import virtio as R
from vmspec.trace.record import COMPARED

pytestmark = pytest.mark.kvm

VIRTUAL = {"time": "virtual"}
HEADER, STATUS = 0x30000, 0x30100
IRR = b"\xb0\x0a\xe6\x20\xe4\x20\xe6\xe9"  # out 0x20, OCW3: read the requests; in 0x20; show it
STEP = 20_000  # ns


def poll(address, value):
    """Wait until a word in memory has a value, with an exit in each turn: in al, 0x80; cmp word [address]; jne."""
    return b"\xe4\x80\x66\x81\x3d" + struct.pack("<IH", address, value) + b"\x75\xf3"


def request(number, kind, sector, size=0, write=False):
    """The guest's next request, awaited: header, ``size`` bytes at DATA, status."""
    middle = describe(1, DATA, size, 1 | (2 if write else 0), 2) if size else b""
    code = put(HEADER, struct.pack("<IIQ", kind, 0, sector)) + store(STATUS, 0xEE)
    code += describe(0, HEADER, 16, 1, 1 if size else 2) + middle + describe(2, STATUS, 1, 2)
    code += b"\x66\xc7\x05" + struct.pack("<IH", AVAILABLE + 4 + 2 * number, 0)
    code += b"\x66\xc7\x05" + struct.pack("<IH", AVAILABLE + 2, number + 1) + store(HERE + R.QUEUE_NOTIFY, 0)
    return code + poll(USED + 2, number + 1) + IRR + show(STATUS, 1)


REQUESTS = (
    request(0, 0, 3, 512, write=True)
    + store(DATA, 0x21212121)
    + request(1, 1, 5, 512)
    + request(2, 4, 0)
    + request(3, 0, 5, 1024, write=True)
    + show(DATA, 1024)
)
PROGRAM = start(features=R.BLK_FLUSH) + REQUESTS


@pytest.fixture
def disk(tmp_path):
    path = tmp_path / "disk.img"
    path.write_bytes(contents())
    return path


@pytest.fixture
def run(run_driver, disk):
    def run(**keys):
        result = run_driver(PROGRAM, {"kind": "virtio-blk", "path": str(disk), "mode": "overlay", **keys}, vm=VIRTUAL)
        assert (result.kind, result.detail) == ("halt", "")
        return result

    return run


def polls(result):
    """How many turns each request was waited for."""
    rows = tracer.load(result.trace).table.to_pylist()
    kicks = [row["seq"] for row in rows if row["addr"] == HERE + R.QUEUE_NOTIFY and row["reason"] == "mmio"]
    waits = [row["seq"] for row in rows if row["addr"] == 0x80]
    ends = [*kicks, len(rows)]
    return [sum(first < seq < last for seq in waits) for first, last in pairwise(ends)]


def test_requests_are_answered_and_interrupt(run, disk):
    result = run()
    new = b"!!!!" + contents()[3 * 512 + 4 : 4 * 512]
    raised = 1 << 5  # the interrupt of the first device
    assert result.console[:8] == bytes([raised, 0] * 4)
    assert result.console[8:] == new + contents()[6 * 512 : 7 * 512]
    assert disk.read_bytes() == contents()
    rows = tracer.load(result.trace).tables["requests"].table.to_pylist()
    assert [row["kind"] for row in rows] == ["read", "write", "flush", "read"]


def test_all_runs_have_the_same_exits(run):
    first, *others = [tracer.load(run().trace).table.select([*COMPARED, "flags"]) for _ in range(3)]
    assert others == [first] * 2


def test_requests_take_the_time_of_the_spec(run):
    """A millisecond more of latency is fifty exits more, and bytes take what they take at the bandwidth."""
    quick = polls(run(latency="100us"))
    slow = polls(run(latency="1100us"))
    assert [more - turns for more, turns in zip(slow, quick, strict=True)] == [1_000_000 // STEP] * 4
    first, _, flush, two = polls(run(latency="100us", bandwidth="1MiB"))
    assert (first - quick[0], flush - quick[2]) == (512 * 1_000_000_000 // (1 << 20) // STEP, 0)
    assert two - quick[3] == 1024 * 1_000_000_000 // (1 << 20) // STEP


def test_random_bytes_are_the_seeds(run_driver):
    code = start() + describe(0, DATA, 32, 2) + store(AVAILABLE, 1 << 16) + store(HERE + R.QUEUE_NOTIFY, 0)
    code += poll(USED + 2, 1) + IRR + show(DATA, 32)
    runs = [run_driver(code, {"kind": "virtio-rng", "seed": 5}, vm=VIRTUAL) for _ in range(2)]
    assert [run.kind for run in runs] == ["halt"] * 2
    assert runs[0].console == runs[1].console
    assert runs[0].console[0] == 1 << 5
    assert any(runs[0].console[1:])


def test_a_run_without_its_dma_is_no_recording(run):
    with pytest.raises(
        tracer.TraceError, match=r"its virtio devices wrote to the guest's memory: record it with trace.i"
    ):
        Recording.of(run().trace)
