"""Small flat guests that run_driver virtio devices through real exits."""

import os
import signal
import struct
import subprocess
import sys
from hashlib import blake2b

import pytest

import tracer
from tests.fakes.flatdriver import (
    AVAILABLE,
    DATA,
    HERE,
    HLT,
    QUEUE,
    USED,
    await_reset_needed,
    await_word,
    describe,
    kicks_of,
    offer,
    put,
    requests_of,
    show,
    show_register,
    start,
    store,
)
from tests.fakes.processes import children, eventually
from tracer.cli import main
from tracer.read.console import Console
from vmspec.registers import virtio as R
from vmspec.trace.files import ring_path, table_path, table_stream_path

pytestmark = pytest.mark.kvm

FIRST = b"".join(blake2b(n.to_bytes(8, "little"), key=(7).to_bytes(8, "little")).digest() for n in range(2))


def test_a_guest_gets_random_bytes(run_driver):
    result = run_driver(start() + describe(0, DATA, 100, 2) + offer(0, 0) + await_word(USED + 2, 1) + show(DATA, 100))
    assert (result.kind, result.console) == ("halt", FIRST[:100])


def test_the_trace_shows_the_notification(run_driver):
    result = run_driver(start() + describe(0, DATA, 16, 2) + offer(0, 0) + await_word(USED + 2, 1))
    rows = [row for row in tracer.load(result.trace).table.to_pylist() if row["device"] == "virtio-rng0"]
    assert (rows[-1]["addr"], rows[-1]["direction"], rows[-1]["data"]) == (HERE + R.QUEUE_NOTIFY, "write", 0)


BROKEN = {
    "a head beyond the queue": offer(0, 8),
    "a chain that loops": describe(0, DATA, 4, 1, 0) + offer(0, 0),
    "a next beyond the queue": describe(0, DATA, 4, 1, 8) + offer(0, 0),
    "a buffer outside RAM": describe(0, 0x7FFFFFFF0, 64, 2) + offer(0, 0),
    "a buffer in the device's own registers": describe(0, HERE, 64, 2) + offer(0, 0),
    "a buffer whose end wraps": describe(0, 0xFFFFFFFFFFFFFFF0, 64, 2) + offer(0, 0),
    "no bytes": describe(0, DATA, 0, 2) + offer(0, 0),
    "an indirect table without the feature": describe(0, DATA, 16, 4) + offer(0, 0),
    "the queue's own table as an indirect one": describe(0, QUEUE, 16, 4) + offer(0, 0),
    "read after written": describe(0, DATA, 4, 3, 1) + describe(1, DATA, 4, 0) + offer(0, 0),
    "more chains than the queue is long": store(AVAILABLE, 9 << 16) + store(HERE + R.QUEUE_NOTIFY, 0),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_hostile_driver_harms_its_own_device_alone_until_it_resets_it(run_driver, case):
    features = R.INDIRECT_DESC if "the queue's own table" in case else 0
    recovery = store(AVAILABLE, 0) + store(USED, 0) + start() + describe(0, DATA, 32, 2) + offer(0, 0)
    first = start(features=features) + BROKEN[case] + await_reset_needed()
    result = run_driver(first + recovery + await_word(USED + 2, 1) + show(DATA, 32))
    assert (result.kind, result.console) == ("halt", FIRST[:32])


@pytest.mark.parametrize(
    ("queue", "size"),
    [(QUEUE, 0), (QUEUE, 3), (QUEUE, 0x10000), (QUEUE, 128), (QUEUE + 8, 8), (HERE, 8), (0xFFFFFFF0, 8)],
)
def test_a_queue_that_cannot_be(run_driver, queue, size):
    result = run_driver(start(queue, size) + show_register(R.STATUS))
    assert result.console == bytes([R.NEEDS_RESET | 15, 0, 0, 0])


def test_every_request_is_a_row_beside_the_exits(run_driver):
    steps = describe(0, DATA, 100, 2) + describe(1, DATA, 3, 3, 2) + describe(2, DATA, 40, 2)
    steps += offer(0, 0, 1) + await_word(USED + 2, 2) + offer(2, 0) + await_word(USED + 2, 3)
    result = run_driver(start() + steps)
    rows, kicks = requests_of(result), kicks_of(result)
    told = [(row["seq"], row["head"], row["room"], row["buffers"], row["bytes_in"], row["length"]) for row in rows]
    assert told == [(0, 0, 100, 1, 100, 100), (1, 1, 43, 2, 43, 43), (2, 0, 100, 1, 100, 100)]
    same = {"device": "virtio-rng0", "queue": 0, "kind": "entropy", "status": "ok", "position": 0, "bytes_out": 0}
    assert all(row[name] == value for row in rows for name, value in same.items())
    assert all(row["t_available"] <= row["t_taken"] <= row["t_done"] for row in rows)
    # The first two came with one notification, the third with the next.
    assert rows[0]["t_available"] == rows[1]["t_available"]
    first, second = (kick["t_exit"] for kick in kicks)
    assert first <= rows[0]["t_available"] <= rows[1]["t_done"] <= second
    assert rows[1]["t_done"] <= rows[2]["t_available"]  # perhaps before its notification: the device had looked again


def test_a_spec_may_leave_requests_out(run_driver):
    guest = start() + describe(0, DATA, 16, 2) + offer(0, 0) + await_word(USED + 2, 1)
    result = run_driver(guest, trace={"requests": False})
    assert "requests" not in tracer.load(result.trace).tables
    assert (result.kind, result.notes) == ("halt", ())


def test_a_machine_without_virtio_devices_has_no_table_of_them(run_guest):
    result = run_guest("f4")
    assert not table_path(result.trace, "requests").exists()
    with pytest.raises(tracer.TraceError, match=r"there are no requests beside .*, in a machine with a virtio device"):
        tracer.load(result.trace).tables.need("requests")


def test_requests_that_cannot_be_written_end_the_run(run_driver, tmp_path):
    (tmp_path / "guest.requests.arrow" / "in the way").mkdir(parents=True)
    result = run_driver(start() + describe(0, DATA, 16, 2) + offer(0, 0) + await_word(USED + 2, 1))
    assert (result.kind, result.status) == ("trace-failed", 6)
    assert f"cannot write the requests, {tmp_path}/guest.requests.arrow: " in result.detail


def ask_for_ever():
    """Request after request, each with its notification: inc word [index]; wait until it is answered."""
    again = b"\x66\xff\x05" + struct.pack("<I", AVAILABLE + 2) + store(HERE + R.QUEUE_NOTIFY, 0)
    again += b"\x66\xa1" + struct.pack("<I", AVAILABLE + 2)  # mov ax, [index]
    again += b"\x66\x39\x05" + struct.pack("<I", USED + 2) + b"\x75\xf7"  # cmp [used index], ax; jne
    return again + b"\xe9" + struct.pack("<i", -len(again) - 5)


@pytest.mark.parametrize("both", [False, True], ids=["vmrun", "vmrun and the recorder"])
def test_a_run_that_is_killed_leaves_every_request(write_spec, tmp_path, both):
    code = start() + describe(0, DATA, 16, 2) + store(AVAILABLE + 4, 0) + ask_for_ever()
    devices = [{"kind": "virtio-rng", "seed": 7}, {"kind": "debug-port"}]
    spec = write_spec(code, boot={"mode": "protected"}, devices=devices)
    trace, stream = tmp_path / "guest.arrow", table_stream_path(tmp_path / "guest.arrow", "requests")
    with subprocess.Popen([sys.executable, "-m", "runner.cli", str(spec)], stdin=subprocess.DEVNULL) as vmrun:
        eventually(lambda: stream.exists() and stream.stat().st_size > 20_000, "no requests were recorded")
        if both:
            vmrun.send_signal(signal.SIGSTOP)
            [recorder] = children(vmrun.pid)
            os.kill(recorder, signal.SIGKILL)
        vmrun.kill()
    if both:
        assert main(["recover", str(trace)]) == 0
    else:  # the ring file goes when all is closed
        eventually(lambda: not ring_path(trace).exists(), "the ring file is still there")
        assert table_path(trace, "requests").exists()
        assert not stream.exists()
    found = tracer.load(trace)
    rows = found.tables["requests"].table.to_pylist()
    assert sorted(row["seq"] for row in rows) == list(range(len(rows)))
    assert found.tables["requests"].complete is not both
    # Each but the last notification was answered before the guest could send the next.
    kicks = [row for row in found.table.to_pylist() if row["addr"] == HERE + R.QUEUE_NOTIFY]
    assert len(kicks) - 1 <= len(rows) <= len(kicks) + 1


CONSOLE = {"kind": "virtio-console", "input": "none"}
DEBUG_EXIT = b"\xb0\0\xe6\xf4"  # mov al, 0; out 0xf4, al


def printing(*texts):
    """Print texts, a chain each, with one notification."""
    described = b"".join(
        put(DATA + 0x100 * n, text) + describe(n, DATA + 0x100 * n, len(text), 0) for n, text in enumerate(texts)
    )
    return start(index=1) + described + offer(0, *range(len(texts)), queue=1)


def test_a_guest_prints_and_ends_at_once(run_guest):
    """The device thread serves the queue: it may not have when the vCPU ends the run."""
    result = run_guest(
        printing(b"first\n", b"last words\n") + DEBUG_EXIT + HLT,
        boot={"mode": "protected"},
        devices=[CONSOLE, {"kind": "debug-exit"}],
        expect={"console": ["last words"], "status": 1},
    )
    assert (result.kind, result.status, result.console) == ("debug-exit", 0, b"first\nlast words\n")
    trace = tracer.load(result.trace)
    assert trace.console() == trace.console("virtio-console0") == result.console
    assert [(row["device"], row["port"], row["data"]) for row in trace.tables["outputs"].table.to_pylist()] == [
        ("virtio-console0", 0, b"first\n"),
        ("virtio-console0", 0, b"last words\n"),
    ]
    kick = [n for n, row in enumerate(trace.table.to_pylist()) if row["addr"] == HERE + R.QUEUE_NOTIFY]
    assert [(line.text, line.row) for line in Console(trace, trace.devices).lines()] == [
        ("first", kick[-1]),
        ("last words", kick[-1]),
    ]


def test_texts_of_a_serial_port_and_a_virtio_console_are_one_console(run_guest):
    serial = b"\x66\xba\xf8\x03" + b"".join(bytes((0xB0, byte, 0xEE)) for byte in b"serial\n")
    waiting = await_word(USED + 2, 1)
    result = run_guest(
        serial + printing(b"virtio\n") + waiting + serial + HLT,
        boot={"mode": "protected"},
        devices=[{"kind": "serial", "input": "none"}, CONSOLE],
        vm={"timeout": "20s"},
    )
    trace = tracer.load(result.trace)
    assert result.console == trace.console() == b"serial\nvirtio\nserial\n"
    assert trace.console("serial0") == b"serial\nserial\n"


def test_without_the_table_of_outputs_the_text_is_in_the_result_alone(run_guest):
    result = run_guest(
        printing(b"text\n") + await_word(USED + 2, 1) + HLT,
        boot={"mode": "protected"},
        devices=[CONSOLE],
        trace={"outputs": False},
    )
    trace = tracer.load(result.trace)
    assert (result.console, trace.console(), list(trace.tables)) == (b"text\n", b"", ["exits", "requests"])


def test_the_hosts_random_bytes_are_inputs(run_driver):
    result = run_driver(
        start() + describe(0, DATA, 16, 2) + offer(0, 0) + await_word(USED + 2, 1) + show(DATA, 16),
        {"kind": "virtio-rng"},
        trace={"inputs": True},
    )
    rows = [row for row in tracer.load(result.trace).tables["inputs"].table.to_pylist() if row["kind"] == "bytes"]
    assert [(row["device"], row["data"]) for row in rows] == [("virtio-rng0", result.console)]
