"""The console for a page: a timeline's lines as people read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tracer
from tests.fakes.tracefakes import exit_, record_all
from tracer.analysis.timeline import timeline
from tracer.html.consoletext import console_text


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """The console of a run with these exits (a microsecond apart)."""

    def make(exits, keep=4000):
        path = tmp_path_factory.mktemp("trace") / "boot.arrow"
        record_all(path, [[exit_(1000 * (at + 1), **fields) for at, fields in enumerate(exits)]])
        return console_text(timeline(tracer.load(path), keep=keep))

    return make


def out(data, **fields):
    return [{"data": bytes([byte]), **fields} for byte in data]


def lines(console):
    return [line.text for line in console.lines]


def test_lines_have_their_times(text):
    console = text([*out(b"one\r\n"), {"addr": 0x70, "device": None}, {"data": b"two\nthree"}])
    assert [(line.t, line.gap, line.text) for line in console.lines] == [
        (1000, 1000, "one"),
        (7000, 6000, "two"),
        (7000, 0, "three"),
    ]
    assert (console.device, console.left_out) == ("serial0", 0)


def test_many_lines_are_the_first_and_the_last(text):
    console = text(out(b"".join(b"%d\n" % number for number in range(9))), keep=3)
    assert (lines(console), console.resumes, console.left_out) == (["0", "1", "2", "6", "7", "8"], 3, 3)


def test_up_to_twice_what_is_kept_is_whole(text):
    console = text(out(b"0\n1\n2\n3\n"), keep=2)
    assert (lines(console), console.left_out) == (["0", "1", "2", "3"], 0)


def test_escape_sequences_go_and_control_characters_show(text):
    data = "\x1b[1;32mok\x1b[0m\tthen\x1b]0;title\x07 \x07bell \u202eback\u2028".encode()
    assert lines(text(out(data))) == ["ok      then \\x07bell \\u202eback\\u2028"]


def test_a_very_long_line_is_cut(text):
    (line,) = lines(text([{"data": b"x" * 3000}]))
    assert (len(line), line[-1]) == (2001, "\N{HORIZONTAL ELLIPSIS}")


@given(st.binary(max_size=60))
def test_any_bytes_become_printable_lines(text, data):
    console = text([{"data": data[at : at + 7]} for at in range(0, len(data), 7)])
    assert all(line.isprintable() for line in lines(console))
