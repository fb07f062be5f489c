"""Grouping over a trace that comes in pieces."""

from collections import Counter

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from tracer.analysis.tally import Tally

COUNT = {"exits": ("t_exit", "count"), "first": ("t_exit", "min"), "last": ("t_exit", "max"), "sum": ("t_exit", "sum")}


def rows(pairs):
    """A table of (key, t_exit)."""
    return pa.table({"key": pa.array([key for key, _ in pairs], pa.utf8()).dictionary_encode(),
                     "t_exit": pa.array([t for _, t in pairs], pa.int64())})  # fmt: skip


@given(st.lists(st.lists(st.tuples(st.sampled_from("abc"), st.integers(-1000, 1000)), min_size=1), min_size=1))
def test_pieces_give_what_the_whole_gives(pieces):
    tally = Tally(["key"], COUNT)
    for piece in pieces:
        tally.add(rows(piece))
    groups = {}
    for key, t in (pair for piece in pieces for pair in piece):
        groups.setdefault(key, []).append(t)
    assert {row["key"]: row for row in tally.table().to_pylist()} == {
        key: {"key": key, "exits": len(ts), "first": min(ts), "last": max(ts), "sum": sum(ts)}
        for key, ts in groups.items()
    }


def test_the_most_exits_come_first_then_the_keys():
    tally = Tally(["key"], COUNT)
    tally.add(rows([("b", 1), ("a", 2), ("c", 3), ("c", 4)]))
    assert tally.table()["key"].to_pylist() == ["c", "a", "b"]


def test_fewer_keys_join_groups():
    tally = Tally(["key", "t_exit"], {"exits": ("t_exit", "count")})
    tally.add(rows([("a", 1), ("a", 2), ("b", 1)]))
    assert tally.table(["key"]).to_pylist() == [{"key": "a", "exits": 2}, {"key": "b", "exits": 1}]


@given(st.lists(st.lists(st.integers(0, 40), min_size=1, max_size=30), min_size=1, max_size=20))
def test_what_is_forgotten_is_bounded(pieces):
    tally = Tally(["key"], COUNT, limit=8)
    for piece in pieces:
        tally.add(rows([(str(key), 0) for key in piece]))
        assert tally.groups <= 8
    true = Counter(str(key) for piece in pieces for key in piece)
    kept = {row["key"]: row["exits"] for row in tally.table().to_pylist()}
    assert all(true[key] - tally.missed <= exits <= true[key] for key, exits in kept.items())
    assert all(key in kept or exits <= tally.missed for key, exits in true.items())


def test_nothing_has_no_table():
    assert Tally(["key"], COUNT).table() is None
