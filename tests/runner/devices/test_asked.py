"""The words of the host's commands, which a trace may have of any kind."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.devices.asked import Asked, asked
from vmspec.trace.inputs import SIZE


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("press the power button", Asked("press_power_button")),
        ("break", Asked("line_break")),
        ("SysRq b", Asked("sysrq", ("b",))),
        ("size 80x24", Asked("resized", (80, 24))),
        ("SysRq ", None),
        ("size 80", None),
        ("size 80x24x1", None),
        ("size -1x24", None),
        ("size 123456x1", None),
        ("size ²x1", None),
        ("format the disk", None),
    ],
)
def test_words_are_a_method_and_its_arguments(words, expected):
    assert asked(words) == expected


@given(st.text() | st.text("0123456789x").map(SIZE.__add__))
def test_any_words_are_a_command_or_none(words):
    assert asked(words) is None or asked(words).method
