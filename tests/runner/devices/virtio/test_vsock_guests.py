"""Flat guests with a socket device, and programs of the host that talk to them."""

import socket
import struct
import threading

import pytest

import tracer
from runner import DeviceError
from tests.fakes.flatdriver import DATA, HERE, await_word, describe, offer, put, show, start, store
from tests.runner.devices.virtio.test_vsock import HEADER, HOST, REQUEST, RST, RW, Packet
from vmspec.registers import virtio as R

pytestmark = pytest.mark.kvm

RINGS = 0x30000  # of the receive queue


@pytest.fixture
def path(tmp_path):
    return tmp_path / "vm"


@pytest.fixture
def drive(run_driver, path):
    def run(code, **device):
        return run_driver(code, {"kind": "virtio-vsock", "path": str(path)} | device)

    return run


def receiving():
    """Set up the receive queue too, with room for eight packets, and let the driver be ready at last."""
    steps = [(R.QUEUE_SEL, 0), (R.QUEUE_NUM, 8), (R.QUEUE_DESC, RINGS), (R.QUEUE_DRIVER, RINGS + 0x100)]
    steps += [(R.QUEUE_DEVICE, RINGS + 0x200), (R.QUEUE_READY, 1)]
    words = [(HERE + offset, value) for offset, value in steps]
    for at in range(8):
        fields = struct.pack("<QIHH", RINGS + 0x1000 + 0x200 * at, 0x200, 2, 0)
        words += [(RINGS + 16 * at + 4 * n, word) for n, word in enumerate(struct.unpack("<4I", fields))]
    words += [(RINGS + 0x104 + 4 * at, 2 * at | (2 * at + 1) << 16) for at in range(4)]
    words.append((RINGS + 0x100, 8 << 16))
    return b"".join(store(address, value) for address, value in words)


@pytest.mark.parametrize("notify", ["exit", "ioeventfd"])
def test_a_guest_and_a_program_of_the_host_talk(drive, path, notify):
    heard = []

    def program():
        end = server.accept()[0]
        with end:
            heard.append(end.recv(5, socket.MSG_WAITALL))
            end.sendall(b"answer")
            heard.append(end.recv(10))

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{path}_5000")
        server.listen()
        thread = threading.Thread(target=program)
        thread.start()
        packets = [Packet(op=REQUEST, source=9), Packet(data=b"hello", source=9)]
        code = start(index=1) + receiving() + store(HERE + R.QUEUE_NOTIFY, 0)
        for at, packet in enumerate(packets):
            data = packet.bytes()
            code += put(DATA + 0x100 * at, data) + describe(at, DATA + 0x100 * at, len(data), 0)
        code += offer(0, 0, queue=1) + await_word(RINGS + 0x202, 1) + offer(0, 0, 1, queue=1)
        code += await_word(RINGS + 0x202, 2) + show(RINGS + 0x1200, HEADER.size + 6)
        result = drive(code, cid=9, notify=notify)
        thread.join()
    fields = HEADER.unpack(result.console[: HEADER.size])
    assert result.kind == "halt"
    assert fields[:7] == (HOST, 9, 5000, 1000, 6, 1, RW)
    assert result.console[HEADER.size :] == b"answer"
    assert heard == [b"hello", b""]  # the connection ends with the run
    assert not path.exists()


def test_the_guest_reads_the_address_that_the_plan_chose(drive):
    result = drive(b"\xa1" + struct.pack("<I", HERE + R.CONFIG) + b"\xe6\xe9")
    assert (result.kind, result.console) == ("halt", b"\x03")


def test_a_hostile_guest_gets_resets_and_the_machine_goes_on(drive):
    packets = [Packet(op=9), Packet(kind=7), Packet(to=99, op=REQUEST), Packet(length=0xFFFFFFFF)]
    code = start(index=1) + receiving()
    for at, packet in enumerate(packets):
        data = packet._replace(source=3).bytes()
        code += put(DATA + 0x100 * at, data) + describe(at, DATA + 0x100 * at, len(data), 0)
    code += offer(0, 0, 1, 2, 3, queue=1) + await_word(RINGS + 0x202, 4) + show(RINGS + 0x1000 + 30, 2)
    assert drive(code).console == b"\x03\0"


def test_a_reset_of_what_has_ended_is_no_error(drive):
    """Linux answers so as both sides end a connection, and the host's side may be the first to forget it. What else
    there is no connection for is an error."""
    packets = [Packet(op=RST, source=3), Packet(data=b"lost", source=3)]
    code = start(index=1) + receiving()
    for at, packet in enumerate(packets):
        data = packet.bytes()
        code += put(DATA + 0x100 * at, data) + describe(at, DATA + 0x100 * at, len(data), 0)
    trace = tracer.load(drive(code + offer(0, 0, 1, queue=1) + await_word(RINGS + 0x202, 1)).trace)
    rows = [row for row in trace.tables["requests"].table.to_pylist() if row["kind"] == "transmit"]
    assert [row["status"] for row in rows] == ["ok", "error"]


def test_a_path_that_is_taken_is_said_before_the_guest_runs(drive, path):
    path.write_text("")
    with pytest.raises(DeviceError, match="it is not a socket"):
        drive(b"")
