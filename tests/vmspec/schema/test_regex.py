import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmspec.schema.regex import compiled


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(a", "missing )"),
        ("(?<=a)b", "invalid perl operator"),
        ("a{3000}", "invalid repetition size"),
        (r"\pL{1000}", "too large"),
        ("\ud800", "surrogates not allowed"),
    ],
)
def test_what_is_no_pattern(pattern, reason):
    with pytest.raises(ValueError, match=reason.replace(")", r"\)")):
        compiled(pattern)


def test_a_pattern_for_which_backtracking_would_take_for_ever():
    assert compiled("(a*)*b").search("a" * 16384) is None


@given(st.text(max_size=20), st.text(max_size=20))
def test_any_pattern_is_compiled_or_rejected(pattern, text):
    try:
        found = compiled(pattern)
    except ValueError:
        return
    found.search(text)
