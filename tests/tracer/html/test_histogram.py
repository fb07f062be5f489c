"""Small plots: axes, bins, outlines."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracer.html.histogram import BINS, HEIGHT, WIDTH, axis, outline, shares

NUMBERS = st.lists(st.floats(0, 1e15) | st.integers(0, 1 << 60), min_size=1, max_size=50)


@given(NUMBERS, st.booleans())
def test_every_value_is_in_a_bin_of_the_axis(values, counted):
    on = axis(values, counted)
    assert all(0 <= on.place(value) <= 1 for value in values)
    assert sum(shares(values, on)) == pytest.approx(1)
    assert len(shares(values, on)) == on.bins <= BINS


def test_an_axis_with_distant_ends_is_logarithmic():
    on = axis([1.0, 10.0, 100.0], False)
    assert on.log
    assert [on.place(value) for value in (1, 10, 100, 1000)] == pytest.approx([0, 0.5, 1, 1])
    assert not axis([0.0, 100.0], False).log


def test_each_of_a_few_numbers_has_a_bin():
    on = axis([40, 41, 44], True)
    assert shares([40, 41, 41, 44], on) == [0.25, 0.5, 0, 0, 0.25]


def test_the_outline_has_the_shares_as_heights():
    assert outline([0.5, 0.0, 0.25], 0.5) == f"M0 {HEIGHT}H0.0V0.0H80.0V48.0H160.0V24.0H{WIDTH}V{HEIGHT}Z"
    # One run of very many is still seen.
    levels = [float(level) for level in re.findall(r"V([\d.]+)", outline([1.0, 1e-6], 1.0))]
    assert HEIGHT - levels[1] >= 1
