"""Numbers in words."""

import pytest

from tracer.format.words import counted, times


@pytest.mark.parametrize(
    ("count", "words"), [(0, ("0 times", "0 exits")), (1, ("once", "1 exit")), (1234, ("1,234 times", "1,234 exits"))]
)
def test_a_number_of_times_and_of_things(count, words):
    assert (times(count), counted(count, "exit")) == words
