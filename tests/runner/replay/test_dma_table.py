"""The table of DMA of a recording, of which a user may give any other file."""

import shutil
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tracer
from runner.replay.dma import Transfer, Transfers
from tests.fakes.tracefakes import DEVICES, METADATA, exit_, record_all
from tests.runner.replay.dmatable import rewritten
from tracer.format.errors import TraceError
from tracer.record.rowrecorder import RowRecorder
from vmspec.trace import dma, keys
from vmspec.trace.files import table_path

EXITS = 9
ROWS = [
    dma.Transfer(10 * at, 0, at // 2, at % 2, dma.DIRECTIONS[at % 3 == 1], 0x1000 * at, Random(at).randbytes(at))
    for at in range(2 * EXITS)
]


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    """A trace whose table is of a recording with nine exits."""
    path = tmp_path_factory.mktemp("recorded") / "boot.arrow"
    record_all(path, [[exit_(1)]])
    recorder = RowRecorder(path, dma.DMA, DEVICES, {keys.CLOCK: METADATA[keys.CLOCK]}, pytest.fail)
    for row in ROWS:
        recorder.put(row)
    recorder.start()
    recorder.finish()
    return path


def read(path):
    return list(Transfers(tracer.load(path).tables.need("dma"), EXITS))


def test_each_transfer_is_read_with_its_exit(trace):
    assert read(trace) == [Transfer(row.seq, DEVICES[row.device], row.direction, row.addr, row.data) for row in ROWS]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("vcpu", 1, "row 6 is of another vCPU"),
        ("seq", 0, "row 6 is of exit 0, and comes after one of exit 2"),
        ("seq", EXITS + 1, "row 6 is of exit 10, and the run has 9 exits"),
    ],
)
def test_a_row_that_is_of_no_such_recording_is_refused(trace, tmp_path, name, value, said):
    def change(rows):
        rows[6][name] = value
        return rows

    with pytest.raises(TraceError, match=said):
        read(rewritten(trace, tmp_path, change))


def test_the_transfers_of_an_exit_that_a_killed_run_has_not_recorded_are_accepted(trace):
    assert len(list(Transfers(tracer.load(trace).tables.need("dma"), EXITS - 1))) == len(ROWS)


def test_a_table_that_is_not_complete_is_refused(trace, tmp_path):
    path = rewritten(trace, tmp_path, lambda rows: rows, complete=False)
    with pytest.raises(TraceError, match="the table of DMA is not complete"):
        read(path)


def test_a_table_of_another_run_does_not_count(trace, tmp_path):
    path = tmp_path / "boot.arrow"
    record_all(path, [[exit_(1)]], metadata=METADATA | {keys.CLOCK: '{"tsc_start": 1, "tsc_khz": 1000000}'})
    shutil.copy(table_path(trace, "dma"), table_path(path, "dma"))
    with pytest.raises(TraceError, match=r"there are no DMA transfers beside .*: record them with trace.inputs = true"):
        read(path)


@given(st.data())
def test_a_table_that_is_cut_or_mixed_is_refused_or_the_same(trace, tmp_path_factory, data):
    """The file, truncated, or with a piece of the trace's in it, or with other bits."""
    whole, other = table_path(trace, "dma").read_bytes(), trace.read_bytes()
    at, length = data.draw(st.integers(0, len(whole))), data.draw(st.integers(0, 2000))
    piece = data.draw(st.sampled_from([b"", other[at : at + length], bytes(length), b"\xff"]))
    path = tmp_path_factory.mktemp("mixed") / "boot.arrow"
    shutil.copy(trace, path)
    table_path(path, "dma").write_bytes(whole[:at] + piece + whole[at + len(piece) :] if piece else whole[:at])
    try:
        found = read(path)
    except TraceError:
        return
    assert [(write.exit, write.addr, write.data) for write in found] == [(row.seq, row.addr, row.data) for row in ROWS]
