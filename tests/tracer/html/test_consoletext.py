"""The console for a page: its start and end in bounded memory, and its lines as people read them."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tracefakes import DEVICES, exit_, record_all

import tracer
from tracer.analysis.chunks import chunks
from tracer.html.consoletext import COLUMNS, ConsoleRows


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """The console of a run with these exits (a microsecond apart), read in tables of so many rows."""

    def make(exits, *, kept=1 << 19, limit=4000, rows=3):
        path = tmp_path_factory.mktemp("trace") / "boot.arrow"
        record_all(path, [[exit_(1000 * (at + 1), **fields) for at, fields in enumerate(exits)]])
        trace = tracer.load(path)
        made = ConsoleRows(DEVICES, pa.schema([trace.schema.field(name) for name in COLUMNS]), kept)
        for table in chunks(trace, COLUMNS, rows):
            made.add(table)
        return made.text(limit)

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


@pytest.mark.parametrize("kept", [10, 30])
def test_a_long_console_has_its_start_and_its_end(text, kept):
    console = text(out(b"".join(b"line %d\n" % number for number in range(20))), kept=kept)
    whole = [f"line {number}" for number in range(20)]
    start, end = lines(console)[: console.resumes], lines(console)[console.resumes :]
    assert start[:-1] == whole[: len(start) - 1]
    assert whole[len(start) - 1].startswith(start[-1])
    assert end[1:] == whole[20 - len(end) + 1 :]
    assert console.left_out == len("line 1\n") * 10 + len("line 10\n") * 10 - 2 * kept


def test_a_console_of_up_to_twice_what_is_kept_is_whole(text):
    console = text(out(b"abcdef\nghijkl"), kept=7)
    assert (lines(console), console.left_out) == (["abcdef", "ghijkl"], 0)


def test_many_lines_are_the_first_and_the_last(text):
    console = text(out(b"".join(b"%d\n" % number for number in range(9))), limit=3)
    assert (lines(console), console.resumes) == (["0", "1", "2", "6", "7", "8"], 3)
    assert console.left_out == len("3\n4\n5\n")


def test_the_divisor_latch_set_in_what_is_left_out_counts(text):
    latch = {"addr": 0x3FB, "data": b"\x83"}
    console = text([*out(b"first\n"), *out(b"." * 20), latch, *out(b"x" * 20)], kept=6)
    assert lines(console) == ["first"]


def test_escape_sequences_go_and_control_characters_show(text):
    data = "\x1b[1;32mok\x1b[0m\tthen\x1b]0;title\x07 \x07bell \u202eback\u2028".encode()
    assert lines(text(out(data))) == ["ok      then \\x07bell \\u202eback\\u2028"]


def test_a_very_long_line_is_cut(text):
    (line,) = lines(text([{"data": b"x" * 3000}]))
    assert (len(line), line[-1]) == (2001, "\N{HORIZONTAL ELLIPSIS}")


@given(st.binary(max_size=60), st.integers(1, 80))
def test_any_bytes_become_printable_lines(text, data, kept):
    console = text([{"data": data[at : at + 7]} for at in range(0, len(data), 7)], kept=kept)
    assert all(line.isprintable() for line in lines(console))


def test_a_machine_without_console(text):
    rows = ConsoleRows(["rtc0"], pa.schema([("t_exit", pa.int64())]))
    assert (rows.text().device, rows.text().lines) == (None, ())
