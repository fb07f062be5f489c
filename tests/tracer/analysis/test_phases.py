"""A run divided at its console lines."""

from hypothesis import given
from hypothesis import strategies as st

from tracer.analysis.phases import phases


def test_long_waits_stand_alone_and_what_is_between_is_joined():
    table = phases([10, 11, 12, 100, 101], ["a", "b", "c", "d", "e"], [5, 1, 2, 3, 4, 6], 102, longest=2)
    assert table.select(["start", "length_ns", "exits", "wait", "lines", "line", "text"]).to_pylist() == [
        {"start": 0, "length_ns": 10, "exits": 5, "wait": True, "lines": 0, "line": -1, "text": ""},
        {"start": 10, "length_ns": 2, "exits": 3, "wait": False, "lines": 2, "line": 0, "text": "a"},
        {"start": 12, "length_ns": 88, "exits": 3, "wait": True, "lines": 1, "line": 2, "text": "c"},
        {"start": 100, "length_ns": 2, "exits": 10, "wait": False, "lines": 2, "line": 3, "text": "d"},
    ]


def test_a_single_step_between_two_waits_is_none():
    table = phases([10, 12], ["a", "b"], [1, 1, 1], 50, longest=2)
    assert table["wait"].to_pylist() == [True, False, True]


@given(st.lists(st.integers(0, 1000)), st.integers(0, 1000), st.integers(0, 5))
def test_phases_follow_each_other_from_the_start_to_the_end(times, rest, longest):
    times = sorted(times)
    end = (times[-1] if times else 0) + rest
    rows = phases(times, ["x"] * len(times), [1] * (len(times) + 1), end, longest).to_pylist()
    assert rows[0]["start"] == 0
    assert [row["start"] + row["length_ns"] for row in rows] == [*(row["start"] for row in rows[1:]), end]
    assert sum(row["exits"] for row in rows) == len(times) + 1
    assert sum(row["lines"] for row in rows) == len(times)
    assert len(rows) <= 2 * longest + 2


def test_a_run_that_printed_nothing_is_one_phase():
    assert phases([], [], [7], 50).to_pylist() == [
        {"start": 0, "length_ns": 50, "exits": 7, "wait": True, "lines": 0, "line": -1, "text": ""}
    ]
