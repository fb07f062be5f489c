"""Names selected by an expression."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.suite.selecting import SelectError, parse

NAMES = ["examples/linux[vm.vcpus=1]", "examples/linux[vm.vcpus=2]", "examples/hello"]


@pytest.mark.parametrize(
    ("text", "selected"),
    [
        ("linux", [0, 1]),
        ("LINUX", [0, 1]),
        ("linux and not vcpus=2", [0]),
        ("hello or vcpus=2", [1, 2]),
        ("not (hello or vcpus=2)", [0]),
        ("hello or linux and vcpus=1", [0, 2]),
        ("not not hello", [2]),
        ("[vm.vcpus=1]", [0]),
        ("android", []),
    ],
)
def test_selected(text, selected):
    selects = parse(text)
    assert [number for number, name in enumerate(NAMES) if selects(name)] == selected


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "a word is missing at the end"), ("not", "at the end"), ("a and", "at the end"),
        ("a b", "'b' comes after"),
        ("(a", "a closing parenthesis is missing"), ("a)", "')' comes after"), ("or a", "missing before 'or'"),
        ("not " * 1000 + "a", "nested too deep"), ("(" * 1000, "nested too deep"), ("a and " * 1000 + "a", "too deep"),
    ],
)  # fmt: skip
def test_what_cannot_be_read(text, what):
    with pytest.raises(SelectError, match="".join(f"\\{c}" if c in "()" else c for c in what)):
        parse(text)


@given(st.text("ab() andortn", max_size=30), st.text("ab", max_size=5))
def test_any_text_selects_or_is_rejected(text, name):
    try:
        selects = parse(text)
    except SelectError:
        return
    assert selects(name) in (True, False)
