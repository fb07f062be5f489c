"""The ring of transfers: the VMM's side, the recorder's, and the recorder's file."""

import json
import os
import threading

import pytest

import tracer
from runner.machine.asking import Asking
from runner.machine.dma import DMA
from runner.memory import GuestMemory
from runner.native._native import lib
from runner.recording.transfers import PAYLOAD, SLOTS, Transfers, TransferSource
from tests.fakes.processes import eventually
from tests.fakes.tracefakes import DEVICES, METADATA, exit_, record_all
from tracer.record.buffers import Buffers
from tracer.record.transferrecorder import TransferRecorder
from vmspec.plan.calls import Slot
from vmspec.trace import keys
from vmspec.trace.dma import DMA as TABLE

PIECE = 1 << 16
CLOCK = {"tsc_start": 0, "tsc_khz": 1_000_000}


def _raise(error):
    raise error


@pytest.fixture
def vmm():
    transfers = Transfers()
    yield transfers
    transfers.close()


@pytest.fixture
def source(vmm):
    """The recorder's side, on a mapping of its own."""
    source = TransferSource(*vmm.descriptors, CLOCK)
    yield source
    source.close()


def act(vmm, pieces, device=0, size=PIECE):
    """A device writes pieces of memory, each in a call of its own, in a thread; returns it, and its list of calls."""
    memory, done = GuestMemory((Slot(0, 0, 1 << 20, 0),)), []

    def work():
        dma = DMA(memory, vmm.ring)
        dma.begin()
        for number in range(pieces):
            with Asking(_raise, None, dma, device):
                memory.write(0x1000, bytes([number & 0xFF]) * size)
            done.append(number)

    thread = threading.Thread(target=work)
    thread.start()
    return thread, done


def test_rows_are_what_devices_did(vmm, source):
    begin = lib.tsc_now()
    act(vmm, 2, device=3, size=5)[0].join()
    buffers = Buffers(TABLE, 8)
    assert source.drain(buffers) == 2
    columns = {name: bytes(column) for name, column in buffers.columns.items()}
    times = [int.from_bytes(columns["t"][at : at + 8], "little") for at in (0, 8)]
    assert begin <= times[0] <= times[1] <= lib.tsc_now()
    assert columns["device"][:4] == bytes([4, 0, 4, 0])
    assert columns["addr"][:10] == bytes([0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0x10])
    assert columns["data"][:12] == bytes([0, 0, 0, 0, 5, 0, 0, 0, 10, 0, 0, 0])
    assert buffers.payload[:10] == bytes(5) + b"\1" * 5
    assert source.drain(buffers) == 0


def test_rows_come_in_parts_if_the_columns_have_no_room(vmm, source):
    act(vmm, 7, size=PIECE)[0].join()
    small, sizes = Buffers(TABLE, 100, 3 * PIECE + 1), []
    while rows := source.drain(small):
        sizes.append(rows)
    assert sizes == [3, 3, 1]


def test_a_vcpu_waits_for_room_and_the_recorder_is_woken_before(vmm, source):
    fit = PAYLOAD // PIECE
    thread, done = act(vmm, fit + 1)
    eventually(lambda: vmm.waiting, "nobody waits")
    assert len(done) == fit
    assert os.eventfd_read(vmm.descriptors[1]) >= 1
    buffers = Buffers(TABLE)
    assert source.drain(buffers) == buffers.payload_capacity // PIECE
    source.commit()
    thread.join()
    assert not vmm.waiting
    assert len(done) == fit + 1
    assert source.dropped == 0


@pytest.mark.parametrize(("pieces", "size"), [(SLOTS // 4, 1), (PAYLOAD // 4 // PIECE, PIECE)])
def test_the_recorder_is_woken_when_a_quarter_is_full(vmm, pieces, size):
    act(vmm, pieces - 1, size=size)[0].join()
    with pytest.raises(BlockingIOError):
        os.eventfd_read(vmm.descriptors[1])
    act(vmm, 1, size=size)[0].join()
    assert os.eventfd_read(vmm.descriptors[1]) == 1


def recorder(source, path):
    record_all(path, [[exit_(1)]])
    metadata = {keys.CLOCK: METADATA[keys.CLOCK], keys.DEVICES: json.dumps(DEVICES)}
    return TransferRecorder(path, source, metadata, lambda error: None)


def test_all_are_recorded_in_order(vmm, source, tmp_path):
    made = recorder(source, tmp_path / "boot.arrow")
    made.start()
    act(vmm, 3 * PAYLOAD // PIECE)[0].join()
    made.finish()
    table = tracer.load(tmp_path / "boot.arrow").tables["dma"]
    assert table.complete
    assert [data[0] for data in table.table["data"].to_pylist()] == [n & 0xFF for n in range(3 * PAYLOAD // PIECE)]
    assert {*table.table["device"].to_pylist()} == {DEVICES[0]}


def test_a_table_that_lacks_transfers_is_not_complete(vmm, source, tmp_path):
    thread, _ = act(vmm, PAYLOAD // PIECE + 5)
    eventually(lambda: vmm.waiting, "nobody waits")
    vmm.abandon()
    thread.join()
    made = recorder(source, tmp_path / "boot.arrow")
    made.start()
    made.finish()
    table = tracer.load(tmp_path / "boot.arrow").tables["dma"]
    assert (table.table.num_rows, table.complete, source.dropped) == (PAYLOAD // PIECE, False, 5)
