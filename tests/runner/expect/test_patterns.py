import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.expect.lines import LONGEST, Lines
from runner.expect.patterns import Patterns


def unmet(wanted, forbidden, *lines):
    patterns = Patterns(wanted, forbidden)
    for line in lines:
        patterns.line(line)
    return [str(one) for one in patterns.unmet()]


def test_patterns_that_are_met():
    assert unmet(["^two$", "o.e"], ["three"], "one", "two") == []


def test_a_pattern_that_no_line_matches():
    assert unmet(["^two", "^ne$"], [], "one", "two") == [
        "expect.patterns[1]: expected a line that matches '^ne$' on the console; no line matches it"
    ]


def test_a_forbidden_pattern_names_the_first_line_that_matches():
    assert unmet([], ["x", r"(?i)panic: \w+"], "Kernel PANIC: not syncing\x1b", "panic: again") == [
        r"expect.forbidden[1]: expected no line that matches '(?i)panic: \\w+' on the console; "
        r"the console printed 'Kernel PANIC: not syncing\x1b'"
    ]


def lines(*pieces):
    cut = Lines()
    return [line for piece in pieces for line in cut.feed(piece)] + list(cut.last())


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"one\r\ntwo", ["one", "two"]),
        (b"one\n", ["one"]),
        (b"\n\n", ["", ""]),
        (b"\xff\n", ["\ufffd"]),
        (b"x" * (LONGEST + 1) + b"y\nz", ["x" * LONGEST, "z"]),
    ],
)
def test_lines(stream, expected):
    assert lines(stream) == expected


@given(st.binary(max_size=60).map(lambda data: data.replace(b"\x00", b"\n")), st.data())
def test_how_the_stream_is_cut_makes_no_difference(stream, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    assert lines(*[stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]) == lines(stream)
