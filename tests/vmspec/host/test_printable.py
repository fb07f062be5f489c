"""Untrusted text as it is printed."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmspec.host.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Linux version 6.1 \u6f22 \xe9 \U0001f600", "Linux version 6.1 \u6f22 \xe9 \U0001f600"),
        ("\x1b[2J\x07", r"\x1b[2J\x07"),
        ("\x9b2J\x85", r"\x9b2J\x85"),
        ("a\tb\r\n", r"a\tb\r\n"),
        ("\u202eabc\u2066\u200f\ufeff", r"\u202eabc\u2066\u200f\ufeff"),
        ("caf\udce9", r"caf\xe9"),
        ("\U000e0041", r"\U000e0041"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_acts_on_a_terminal_is_escaped(text, shown):
    assert printable(text) == shown


@given(st.text(st.characters()))
def test_nothing_printable_acts(text):
    shown = printable(text)
    assert all(unicodedata.category(char)[0] in "LMNPS" or char == " " for char in shown)
    assert printable(shown) == shown
