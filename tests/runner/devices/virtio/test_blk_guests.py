"""Small flat guests that run_driver a disk through real exits."""

import hashlib
import json
import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest

import tracer
from tests.fakes.flatdriver import (
    AVAILABLE,
    DATA,
    HERE,
    HLT,
    USED,
    await_reset_needed,
    await_word,
    describe,
    offer,
    put,
    show,
    start,
    store,
)
from tests.runner.devices.virtio.test_blk import contents
from tracer.analysis.facts import facts
from tracer.analysis.kicks import Kicks
from tracer.analysis.summary import summarise
from tracer.cli import main
from vmspec.registers import virtio as R

pytestmark = pytest.mark.kvm

HEADER, STATUS = 0x30000, 0x30100
FEATURES = R.BLK_FLUSH


def request(number, kind, sector, size=0, write=False):
    """The guest's next request, awaited: header, ``size`` bytes at DATA, status. Descriptors 0 to 2."""
    middle = describe(1, DATA, size, 1 | (2 if write else 0), 2) if size else b""
    code = put(HEADER, struct.pack("<IIQ", kind, 0, sector)) + store(STATUS, 0xEE)
    code += describe(0, HEADER, 16, 1, 1 if size else 2) + middle + describe(2, STATUS, 1, 2)
    return code + at(number) + await_word(USED + 2, number + 1) + show(STATUS, 1)


def at(number, queue=0):
    """Offer descriptor 0 as the chain of that number (of at most 8)."""
    word = AVAILABLE + 4 + 2 * number
    code = b"\x66\xc7\x05" + struct.pack("<IH", word, 0)  # mov word [ring], 0
    return code + b"\x66\xc7\x05" + struct.pack("<IH", AVAILABLE + 2, number + 1) + store(HERE + R.QUEUE_NOTIFY, queue)


@pytest.fixture
def disk(tmp_path):
    path = tmp_path / "disk.img"
    path.write_bytes(contents())
    return path


def device(path, mode, **keys):
    return {"kind": "virtio-blk", "path": str(path), "mode": mode, **keys}


def program():
    """Read sector 3, write it to sector 5 with other first bytes, flush, read sectors 5 and 6."""
    code = start(features=FEATURES) + request(0, 0, 3, 512, write=True) + store(DATA, 0x21212121)
    code += request(1, 1, 5, 512) + request(2, 4, 0) + request(3, 0, 5, 1024, write=True) + show(DATA, 1024)
    return code


@pytest.mark.parametrize("mode", ["rw", "overlay"])
def test_a_guest_reads_and_writes(run_driver, disk, mode):
    result = run_driver(program(), device(disk, mode))
    new = b"!!!!" + contents()[3 * 512 + 4 : 4 * 512]
    assert (result.kind, result.console[:4]) == ("halt", bytes(4))
    assert result.console[4:] == new + contents()[6 * 512 : 7 * 512]
    changed = contents()[: 5 * 512] + new + contents()[6 * 512 :]
    assert disk.read_bytes() == (changed if mode == "rw" else contents())


def test_requests_are_rows(run_driver, disk):
    result = run_driver(program(), device(disk, "rw"))
    rows = tracer.load(result.trace).tables["requests"].table.to_pylist()
    found = [(row["kind"], row["position"], row["length"], row["status"], row["bytes_in"]) for row in rows]
    assert found == [
        ("read", 3, 512, "ok", 513), ("write", 5, 512, "ok", 1), ("flush", 0, 0, "ok", 1),
        ("read", 5, 1024, "ok", 1025),
    ]  # fmt: skip


HOSTILE = {
    "a sector beyond the end": (request(0, 0, 64, 512, write=True), 1),
    "a sector whose byte wraps": (request(0, 1, (1 << 55) + 1, 512), 1),
    "the last sector and one more": (request(0, 1, 63, 1024), 1),
    "half a sector": (request(0, 1, 0, 256), 1),
    "an unknown kind": (request(0, 99, 0, 512), 2),
    "a discard beyond the end": (
        put(DATA, struct.pack("<QII", (1 << 64) - 1, 2, 0)) + request(0, 11, 0, 16), 1,
    ),
    "zeroes with unknown flags": (put(DATA, struct.pack("<QII", 0, 1, 6)) + request(0, 13, 0, 16), 2),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_request_gets_an_error_and_changes_nothing(run_driver, disk, case):
    code, status = HOSTILE[case]
    result = run_driver(start() + code + request(1, 0, 0, 512, write=True) + show(DATA, 512), device(disk, "rw"))
    assert (result.kind, result.console) == ("halt", bytes([status, 0]) + contents()[:512])
    assert disk.read_bytes() == contents()


NO_REQUEST = {
    "no status": describe(0, HEADER, 16, 0),
    "a status that is read-only": describe(0, HEADER, 16, 1, 1) + describe(1, STATUS, 1, 0),
    "no header": describe(0, STATUS, 1, 2),
    "a header cut short": describe(0, HEADER, 8, 1, 1) + describe(1, STATUS, 1, 2),
}


@pytest.mark.parametrize("case", NO_REQUEST)
def test_what_is_no_request_stops_the_disk_until_a_reset(run_driver, disk, case):
    code = start() + NO_REQUEST[case] + at(0) + await_reset_needed()
    code += store(AVAILABLE, 0) + store(USED, 0) + start() + request(0, 0, 1, 512, write=True) + show(DATA, 512)
    result = run_driver(code, device(disk, "rw"))
    assert (result.kind, result.console) == ("halt", bytes(1) + contents()[512:1024])


def test_a_disk_is_read_only_without_the_drivers_consent(run_driver, disk):
    before = hashlib.sha256(disk.read_bytes()).digest()
    result = run_driver(start() + request(0, 1, 0, 512), device(disk, "ro"))
    assert (result.kind, result.console) == ("halt", b"\x01")
    assert hashlib.sha256(disk.read_bytes()).digest() == before


def test_what_a_flush_has_acknowledged_outlives_vmrun(write_spec, disk):
    code = start(features=FEATURES) + store(DATA, 0x44454D4D) + request(0, 1, 7, 512) + request(1, 4, 0)
    spec = write_spec(
        code + b"\xeb\xfe", boot={"mode": "protected"}, devices=[device(disk, "rw"), {"kind": "debug-port"}], trace=None
    )
    with subprocess.Popen([sys.executable, "-m", "runner.cli", spec], stdout=subprocess.PIPE) as run:
        assert os.read(run.stdout.fileno(), 1) + os.read(run.stdout.fileno(), 1) == bytes(2)
        run.send_signal(signal.SIGKILL)
    assert disk.read_bytes()[7 * 512 : 7 * 512 + 4] == b"MMED"


def test_a_disk_in_use_is_refused_by_the_name_of_its_user(write_spec, run_guest, disk):
    from runner.devices import DeviceError

    code = show(DATA, 1) + b"\xeb\xfe"
    devices = [device(disk, "rw"), {"kind": "debug-port"}]
    spec = write_spec(code, boot={"mode": "protected"}, devices=devices, trace=None)
    with subprocess.Popen([sys.executable, "-m", "runner.cli", spec], stdout=subprocess.PIPE) as run:
        run.stdout.read(1)
        comm = Path(f"/proc/{run.pid}/comm").read_text().strip()
        for mode in ("rw", "ro", "overlay"):
            with pytest.raises(DeviceError) as caught:
                run_guest(HLT, devices=[device(disk, mode)])
            assert str(caught.value) == f"device[0].path: {disk} is in use by {comm}, pid {run.pid}"
        run.terminate()
    assert run_guest(HLT, devices=[device(disk, "ro")]).kind == "halt"


@pytest.mark.parametrize(("keys", "said"), [
    ({"block-size": 4096}, "device[0].block-size: the image has 6656 bytes, which is not a multiple of 4096"),
])  # fmt: skip
def test_what_the_host_cannot_give(run_guest, disk, keys, said):
    from runner.devices import DeviceError

    disk.write_bytes(bytes(13 * 512))
    with pytest.raises(DeviceError) as caught:
        run_guest(HLT, devices=[device(disk, "rw", **keys)])
    assert str(caught.value) == said.format(disk)


def test_no_place_for_an_overlay(run_guest, disk, monkeypatch):
    from runner.devices import DeviceError

    monkeypatch.setenv("TMPDIR", "/nowhere")
    with pytest.raises(DeviceError, match=r"device\[0\].mode: .* in /nowhere: No such file or directory; TMPDIR"):
        run_guest(HLT, devices=[device(disk, "overlay")])


def test_every_request_is_a_row_with_its_sector_and_the_exit_that_told_of_it(run_driver, disk):
    """C takes the time of a notification from its exit. A request that the worker finds before that has its own."""
    code = program() + request(4, 8, 0, 20, write=True) + request(5, 99, 7) + request(6, 0, 1 << 40, 512, write=True)
    result = run_driver(code, device(disk, "rw"))
    trace = tracer.load(result.trace)
    rows, kicks = trace.tables["requests"].table.to_pylist(), Kicks(trace)
    names = ("seq", "kind", "position", "length", "bytes_out", "bytes_in", "room", "status")
    assert [tuple(row[name] for name in names) for row in rows] == [
        (0, "read", 3, 512, 16, 513, 513, "ok"),
        (1, "write", 5, 512, 528, 1, 1, "ok"),
        (2, "flush", 0, 0, 16, 1, 1, "ok"),
        (3, "read", 5, 1024, 16, 1025, 1025, "ok"),
        (4, "get-id", 0, 20, 16, 21, 21, "ok"),
        (5, "other", 7, 0, 16, 1, 1, "unsupported"),
        (6, "read", 1 << 40, 512, 16, 0, 513, "error"),
    ]
    assert len(kicks) == len(rows)
    for row in rows:
        assert row["t_available"] <= row["t_taken"] <= row["t_done"]
        kick = kicks.before("virtio-blk0", 0, row["t_available"])
        assert row["t_available"] in (row["t_taken"], kick.t_exit if kick is not None else None)


def test_kvm_answers_the_notifications_and_the_trace_says_so(run_driver, disk, capsys):
    result = run_driver(program(), device(disk, "rw", notify="ioeventfd"))
    new = b"!!!!" + contents()[3 * 512 + 4 : 4 * 512]
    assert (result.kind, result.console) == ("halt", bytes(4) + new + contents()[6 * 512 : 7 * 512])
    trace = tracer.load(result.trace)
    assert [row for row in trace.table.to_pylist() if row["addr"] == HERE + R.QUEUE_NOTIFY] == []
    rows = trace.tables["requests"].table.to_pylist()
    assert [row["kind"] for row in rows] == ["read", "write", "flush", "read"]
    assert all(row["t_available"] == row["t_taken"] for row in rows)
    assert len(Kicks(trace)) == 0
    lacks = 'the notifications of virtio-blk0 are not in the trace (notify = "ioeventfd")'
    complete = facts(trace)["complete"]
    assert (complete["complete"], complete["silent"]) == (True, ["virtio-blk0"])
    assert complete["why"] == f"closed by its run, nothing dropped; {lacks}"
    assert f"T{lacks[1:]}." in summarise(trace).notes
    assert main(["io", str(result.trace), "--table", "slowest", "--json"]) == 0
    slowest = json.loads(capsys.readouterr().out)["slowest"]
    assert [(row["vcpu"], row["seq"], row["kick_ns"], row["rip"]) for row in slowest] == [(None,) * 4] * 4


def test_a_broken_queue_is_told_of_by_kvm_too(run_driver, disk):
    code = start() + NO_REQUEST["no header"] + at(0) + await_reset_needed()
    code += store(AVAILABLE, 0) + store(USED, 0) + start() + request(0, 0, 1, 512, write=True) + show(DATA, 512)
    result = run_driver(code, device(disk, "rw", notify="ioeventfd"))
    assert (result.kind, result.console) == ("halt", bytes(1) + contents()[512:1024])


def test_a_host_whose_kvm_cannot_answer_notifications(run_guest, disk, lacking):
    from runner import HostError

    lacking("KVM_CAP_IOEVENTFD")
    with pytest.raises(HostError, match=r"KVM_CAP_IOEVENTFD, which notify = \"ioeventfd\" needs"):
        run_guest(HLT, devices=[device(disk, "rw", notify="ioeventfd")])


def four(kind, size):
    """Four requests at once; descriptors 2n and 2n + 1 are those of request n. With a read, data and status are one
    buffer; with a write, header and data."""
    code = b""
    for number in range(4):
        header = HEADER + 0x2000 * number
        code += put(header, struct.pack("<IIQ", kind, 0, 8 * number) + b"!!!!")
        if kind == 0:
            code += describe(2 * number, header, 16, 1, 2 * number + 1)
            code += describe(2 * number + 1, DATA + 0x2000 * number, size + 1, 2)
        else:
            code += describe(2 * number, header, 16 + size, 1, 2 * number + 1)
            code += describe(2 * number + 1, STATUS, 1, 2)
    return code + offer(0, 0, 2, 4, 6)


def fill(address, size, byte):
    """mov edi, address; mov ecx, size / 4; mov eax, bytes; rep stosd."""
    return (
        b"\xbf" + struct.pack("<I", address) + b"\xb9" + struct.pack("<I", size // 4) + b"\xb8" + byte * 4 + b"\xf3\xab"
    )


@pytest.mark.parametrize("direct", [False, True], ids=["buffered", "direct"])
def test_a_system_that_starts_after_a_reset_finds_its_memory_alone(run_driver, disk, direct):
    """The guest resets the disk while it reads, and uses the memory for something else: its next driver."""
    code = (
        start() + four(0, 0x1000) + store(HERE + R.STATUS, 0) + fill(DATA, 0x8000, b"*") + fill(AVAILABLE, 0x400, b"\0")
    )
    code += start(features=FEATURES) + b"".join(request(number, 4, 0) for number in range(4)) + show(DATA, 0x8000)
    result = run_driver(code, device(disk, "rw", direct=direct))
    assert (result.kind, result.console) == ("halt", bytes(4) + b"*" * 0x8000)


@pytest.mark.parametrize("direct", [False, True], ids=["buffered", "direct"])
def test_what_the_trace_has_of_a_run_that_ends_amid_requests_is_on_the_disk(run_guest, disk, direct):
    before = disk.read_bytes()
    reset = b"\xb0\xfe\xe6\x64" + HLT  # mov al, 0xfe; out 0x64, al
    devices = [device(disk, "rw", direct=direct), {"kind": "i8042"}]
    result = run_guest(start() + four(1, 0x1000) + reset, boot={"mode": "protected"}, devices=devices, trace={})
    assert result.kind == "reset"
    requests, after = tracer.load(result.trace).tables["requests"], disk.read_bytes()
    assert requests.complete
    done = {row["position"] for row in requests.table.to_pylist() if row["status"] == "ok"}
    for sector in range(0, 32, 8):
        found = after[sector * 512 :][:0x1000]
        new = b"!!!!" + bytes(0xFFC)
        assert found == new if sector in done else found in (new, before[sector * 512 :][:0x1000])
    assert after[32 * 512 :] == before[32 * 512 :]
