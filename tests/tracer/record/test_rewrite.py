"""Sorting batches that were recorded one after another by their times."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from tracer.record import rewrite


def batches_of(groups):
    """Record batches of those times, each sorted; ``n`` numbers the rows over all of them."""
    number, found = 0, []
    for times in groups:
        rows = sorted(times)
        numbers = range(number, number + len(rows))
        number += len(rows)
        arrays = [pa.array(rows, pa.int64()), pa.array(numbers, pa.int64())]
        found.append(pa.RecordBatch.from_arrays(arrays, names=["t_exit", "n"]))
    return found


def rows_of(batches):
    return [(row["t_exit"], row["n"]) for batch in batches for row in batch.to_pylist()]


@given(st.lists(st.lists(st.integers(0, 30), max_size=8), max_size=12))
def test_any_batches_come_out_in_order_and_rows_of_equal_time_as_they_came(groups):
    batches = batches_of(groups)
    assert rows_of(rewrite.in_order(lambda: batches, "t_exit")) == sorted(rows_of(batches))


def test_rows_go_out_once_nothing_earlier_can_come():
    batches = batches_of([[1, 2], [2, 3], [10, 11], [4, 12]])
    assert [batch.num_rows for batch in rewrite.in_order(lambda: batches, "t_exit")] == [2, 2, 4]


def test_a_late_row_has_each_row_sorted_only_once(monkeypatch):
    """An exit that was handled for the whole of a run: all that others did meanwhile waits for it."""
    sort, sorted_rows = rewrite._merged, []

    def counted(pieces, time):
        sorted_rows.append(sum(piece.num_rows for piece in pieces))
        return sort(pieces, time)

    monkeypatch.setattr(rewrite, "_merged", counted)
    # Neighbours overlap, and the last of them has a row from the beginning.
    groups = [[number * 10 - 1, number * 10 + 5] for number in range(1, 200)] + [[0, 5000]]
    batches = batches_of(groups)
    assert rows_of(rewrite.in_order(lambda: batches, "t_exit")) == sorted(rows_of(batches), key=lambda row: row[0])
    assert sum(sorted_rows) == sum(map(len, groups))


def test_what_a_late_row_held_back_comes_in_batches_that_readers_accept(monkeypatch):
    monkeypatch.setattr(rewrite, "BATCH_ROWS", 3)
    batches = batches_of([[1, 2], [3, 4], [5, 6], [7, 8], [0]])
    found = list(rewrite.in_order(lambda: batches, "t_exit"))
    assert max(batch.num_rows for batch in found) <= 3
    assert [time for time, _ in rows_of(found)] == list(range(9))


def test_long_payloads_are_no_larger_batches(monkeypatch):
    monkeypatch.setattr(rewrite, "BATCH_BYTES", 1000)
    payloads = pa.array([b"x" * 400] * 8)
    batch = pa.RecordBatch.from_arrays([pa.array(range(8), pa.int64()), payloads], names=["t_exit", "payload"])
    found = list(rewrite.in_order(lambda: [batch], "t_exit"))
    assert (sum(piece.num_rows for piece in found), max(piece.nbytes for piece in found) <= 1000) == (8, True)
