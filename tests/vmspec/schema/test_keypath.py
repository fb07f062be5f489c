import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmspec.schema.keypath import join, split

steps = st.text(max_size=6) | st.integers(0, 10**9 - 1)


@given(st.text(max_size=6), st.lists(steps))
def test_a_path_survives_being_written(first, rest):
    path = (first, *rest)
    assert split(join(path)) == path


def test_a_path_is_written_as_a_person_would():
    assert join(("device", 1, "path")) == "device[1].path"


@pytest.mark.parametrize(
    "text", [".a", "a.", "a..b", "[0]", "a[", "a[-1]", "a[x]", "a b", "a b.c", 'a"b"', "a.[0]", "ä"]
)
def test_what_is_no_path_is_refused(text):
    with pytest.raises(ValueError, match="is not a key"):
        split(text)
