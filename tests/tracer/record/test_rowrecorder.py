"""Rows that come one by one, and more of them than the disk takes."""

import threading

import pytest

import tracer
from tests.fakes.processes import eventually
from tests.fakes.tracefakes import DEVICES, METADATA, exit_, record_all
from tracer.format.errors import TraceError
from tracer.record.rowrecorder import WAITING, RowRecorder
from vmspec.trace import keys
from vmspec.trace.dma import DMA, Transfer

PIECE = 1 << 16


@pytest.fixture
def recorder(tmp_path):
    record_all(tmp_path / "boot.arrow", [[exit_(1)]])
    recorder = RowRecorder(
        tmp_path / "boot.arrow", DMA, DEVICES, {keys.CLOCK: METADATA[keys.CLOCK]}, lambda error: None
    )
    yield recorder
    recorder.stop()


def put(recorder, rows):
    """Puts rows in a thread; returns it, and a list with a row for each that was put."""
    done = []

    def work():
        for number in range(rows):
            recorder.put(Transfer(number, 0, number, 0, "write", 0, bytes([number & 0xFF]) * PIECE))
            done.append(number)

    thread = threading.Thread(target=work)
    thread.start()
    return thread, done


def test_whoever_has_more_rows_than_may_wait_waits_too(recorder, tmp_path):
    rows = 3 * WAITING // PIECE
    thread, done = put(recorder, rows)
    eventually(lambda: len(done) >= WAITING // PIECE - 1, "no rows wait")
    assert len(done) <= WAITING // PIECE
    recorder.start()
    thread.join()
    recorder.finish()
    table = tracer.load(tmp_path / "boot.arrow").tables["dma"]
    assert table.table["seq"].to_pylist() == [*range(rows)]
    assert max(batch.nbytes for batch in table.batches()) < 2 * WAITING


def test_nobody_waits_for_a_table_that_cannot_be_written(recorder, tmp_path):
    thread, done = put(recorder, 3 * WAITING // PIECE)
    (tmp_path / "boot.dma.arrows").mkdir()
    recorder.start()
    thread.join()
    assert len(done) == 3 * WAITING // PIECE
    with pytest.raises(TraceError, match="cannot write the dma"):
        recorder.finish()
