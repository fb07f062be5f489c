"""Exits over time as a density."""

from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracer.analysis.density import Density, density

ROWS = st.lists(st.tuples(st.integers(0, 10_000), st.sampled_from("ab"), st.integers(0, 50)), min_size=1, max_size=60)


def table(rows):
    """A table of (t_exit, device, handling in ns)."""
    return pa.table({
        "t_exit": pa.array([t for t, _, _ in rows], pa.int64()),
        "device": [device for _, device, _ in rows],
        "t_entry": pa.array([t + ns for t, _, ns in rows], pa.int64()),
    })  # fmt: skip


@given(ROWS, st.integers(1, 64), st.integers(1, 40))
def test_every_exit_is_in_the_bin_of_its_time(rows, bins, cells):
    made = Density(10_001, ["device"], bins=bins, cells=cells)
    made.add(table(rows))
    density = made.binned()
    got = density.table
    true = Counter((t // density.width, device) for t, device, _ in rows)
    assert {(row["bin"], row["device"]): row["exits"] for row in got.to_pylist()} == true
    assert sum(got["handling_ns"].to_pylist()) == sum(ns for _, _, ns in rows)
    assert all(row["t"] == row["bin"] * density.width for row in got.to_pylist())
    assert got.num_rows <= max(cells, 2)  # one bin is the coarsest: a cell for each device


def test_times_outside_the_span_go_to_its_ends():
    made = density([table([(-5, "a", 0), (3, "a", 0), (999, "a", 0)])], 10, ["device"], bins=10)
    assert made.table.select(["bin", "exits"]).to_pylist() == [
        {"bin": 0, "exits": 1},
        {"bin": 3, "exits": 1},
        {"bin": 9, "exits": 1},
    ]


@pytest.mark.parametrize("span", [0, 1, 1 << 62])
def test_any_span_has_bins(span):
    assert density([table([(0, "a", 7)])], span, ["device"]).table["handling_ns"].to_pylist() == [7]


def test_totals_are_the_bins_sums():
    made = density([table([(1, "a", 2), (5, "b", 3), (7, "b", 4)])], 10, ["device"])
    assert made.totals().to_pylist() == [
        {"device": "b", "exits": 2, "handling_ns": 7},
        {"device": "a", "exits": 1, "handling_ns": 2},
    ]


def test_the_fields_say_their_unit_and_meaning():
    made = density([table([(1, "a", 2)])], 10, ["device"])
    assert made.table.schema.field("t").metadata[b"unit"] == b"ns"
    assert all(field.metadata[b"doc"] for field in made.table.schema)
