"""Descriptors beside the standard streams."""

import os

import pytest

from vmspec.host.streams import aside


@pytest.fixture
def read_end():
    ends = os.pipe()
    yield ends[0]
    os.close(ends[1])


def test_a_number_that_no_standard_stream_has_stays(read_end):
    assert aside(read_end) == read_end
    os.close(read_end)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_number_of_a_standard_stream_is_free_again(read_end, number):
    before = os.dup(number)
    try:
        os.dup2(read_end, number)
        moved = aside(number)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(number)
    finally:
        os.dup2(before, number)
        os.close(before)
    assert (moved > 2, os.get_inheritable(moved), os.path.sameopenfile(moved, read_end)) == (True, False, True)
    os.close(moved)
    os.close(read_end)
