"""Filters: what an expression selects, and the errors of invalid ones."""

import itertools
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.fakes.tracefakes import DEVICES, numbered, record_all
from tracer import TraceError, load
from tracer.analysis.filtertext import LENGTH
from tracer.analysis.where import compile
from tracer.show.events import described
from vmspec.trace.record import DIRECTIONS, FLAGS, REASONS

NUMBERS = ("seq", "vcpu", "t_exit", "t_entry", "rip", "addr", "size", "count", "data", "flags", "handling")
TIMES = ("t_exit", "t_entry", "handling")


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    """Rows of every shape; the extremes of a column are among them."""
    records = [[numbered(vcpu, number) for number in range(40)] for vcpu in range(2)]
    records[0][7][0].update(rip=(1 << 64) - 1, addr=(1 << 64) - 1, data=(1 << 64) - 1, flags=0xFFFF & ~FLAGS["PAYLOAD"])
    path = tmp_path_factory.mktemp("where") / "fake.arrow"
    record_all(path, records)
    return load(path)


def selected(trace, expression):
    """(vcpu, seq) of the rows that a filter holds for."""
    filter_ = compile(expression, trace)
    found = list(described(trace.batches(), filter_))
    return [(row["vcpu"], row["seq"]) for batch in found for row in batch.to_pylist()]


def rows_where(trace, predicate):
    names = {"handling": lambda row: row["t_entry"] - row["t_exit"]}
    rows = [row | {name: make(row) for name, make in names.items()} for row in trace.table.to_pylist()]
    rows = [row | {flag: bool(row["flags"] & bit) for flag, bit in FLAGS.items()} for row in rows]
    return [(row["vcpu"], row["seq"]) for row in rows if predicate(row)]


@pytest.mark.parametrize(
    ("expression", "predicate"),
    [
        ("device == 'serial0' and size >= 1", lambda row: row["device"] == "serial0"),
        ("device == 'serial'", lambda row: row["device"] == "serial0"),
        ("device != 'rtc'", lambda row: row["device"] != "rtc0"),
        ("device in ('rtc', '-')", lambda row: row["device"] in ("rtc0", "-")),
        ("'port' in device", lambda row: row["device"] == "debug-port0"),
        ("reason not in ['io', 'mmio']", lambda row: row["reason"] == "hlt"),
        ("'read' == direction", lambda row: row["direction"] == "read"),
        ("UNCLAIMED", lambda row: row["UNCLAIMED"]),
        ("not UNCLAIMED or PAYLOAD == True", lambda row: not row["UNCLAIMED"] or row["PAYLOAD"]),
        ("handling > 290ns", lambda row: row["handling"] > 290),
        ("5us <= t_exit < 0.02ms", lambda row: 5_000 <= row["t_exit"] < 20_000),
        ("addr >= 0x10 and addr <= 0b10100", lambda row: 16 <= row["addr"] <= 20),
        ("data & 0xff == (3 | 4)", lambda row: row["data"] & 0xFF == 7),
        ("data - 1 < -0", lambda row: row["data"] < 1),
        ("rip == 18446744073709551615", lambda row: row["rip"] == (1 << 64) - 1),
        ("-data * 3 < -18446744073709551615", lambda row: row["data"] * 3 > (1 << 64) - 1),
        ("seq - rip < vcpu - data", lambda row: row["seq"] - row["rip"] < row["vcpu"] - row["data"]),
        ("True", lambda row: True),
        ("size > 5 and False", lambda row: False),
        ("what in ('port 0x10', 'port 0x11') and rw == 'r'", lambda row: False),
        ("time >= 5us and handling == 290ns", lambda row: row["t_exit"] >= 5000 and row["handling"] == 290),
        ("handling_ns > 290", lambda row: row["handling"] > 290),
        ("1 < (data & 0xff) < 4", lambda row: 1 < row["data"] & 0xFF < 4),
    ],
)
def test_what_it_selects(trace, expression, predicate):
    assert selected(trace, expression) == rows_where(trace, predicate)


def test_only_the_columns_that_it_reads(trace):
    assert compile("rw == 'r'", trace).columns == ("direction",)
    assert compile("what == 'COM1 LSR'", trace).decoded
    assert not compile("size == 1", trace).decoded
    assert compile("handling > 1us and UNCLAIMED", trace).columns == ("t_exit", "t_entry", "flags")
    assert compile("True", trace).columns == ()


@pytest.mark.parametrize(
    ("expression", "column", "problem"),
    [
        ("size > 1 and devce == 'x'", 14, "no column 'devce'; did you mean 'device'?"),
        ("time > 1", 8, "time is a time; write a unit: 1ns, 1us, 1ms, 1s"),
        ("5 <= t_exit", 1, "5ns, 5us, 5ms, 5s"),
        ("t_exit>5s & vcpu==1", 8, "write (t_exit>5s) and (vcpu==1), or (5s & vcpu) if its bits are meant"),
        ("vcpu == 1 | vcpu == 2", 9, "write (vcpu == 1) or (vcpu == 2)"),
        ("not size == 1 & size == 1", 13, "write (size == 1) and (size == 1)"),
        ("vcpu == 0 | 1", 9, "for any of several values write in (0, 1), or (0 | 1)"),
        ("size > 1 & UNCLAIMED", 8, "to join conditions: and"),
        ("'a' | device == 'serial0'", 1, "to join conditions: or"),
        ("UNCLAIMED && size > 1", 11, "write and"),
        ("UNCLAIMED || size > 1", 11, "write or"),
        ("!UNCLAIMED", 1, "write not"),
        ("addr == 3f8", 9, "in hexadecimal it is 0x3f8"),
        ("addr == 3F8h", 9, "in hexadecimal it is 0x3F8"),
        ("addr in (1, 3f8)", 13, "in hexadecimal it is 0x3f8"),
        ("addr == f8", 9, "in hexadecimal it is 0xf8"),
        ("addr == 0x3g8", 11, "invalid hexadecimal literal"),
        ("t_exit > 5 s", 10, "without a blank: 5s"),
        ("t_exit > 5m", 10, "'m' is not one of the units ns, us, ms, s"),
        ("size == 300", 9, "size is from 0 to 255: no exit has size == 300"),
        ("vcpu != 70000", 9, "no exit has vcpu == 70000"),
        ("300 < size", 1, "no exit has size > 300"),
        ("size in (1, 256)", 13, "no exit has size == 256"),
        ("data < 0", 8, "no exit has data < 0"),
        ("rip > 0xffffffffffffffff", 7, "no exit has rip >"),
        ("1 == 1", 6, "two values and no column"),
        ("'io' == 'io'", 9, "two values and no column"),
        ("size in ()", 9, "the list is empty"),
        ("device == serial0", 11, "write it in quotes: 'serial0'"),
        ("reason == io", 11, "write it in quotes: 'io'"),
        ("'seral' in device", 1, "no device contains 'seral'; there are: serial0"),
        ("'mimo' in reason", 1, "no reason contains 'mimo'"),
        ("what == 'COM1 LSQ'", 9, "nothing is called 'COM1 LSQ'; did you mean 'COM1 LSR'?"),
        ("what == 'zzz'", 9, "nothing is called 'zzz'; there are: "),
        ("rw == 'x'", 7, "no rw is called 'x'"),
        ("size > 1 and ", 13, "invalid syntax"),
        ("flags == 'UNCLAIMED'", 10, "write the name of a bit alone: UNCLAIMED"),
        ("unclaimed", 1, "did you mean 'UNCLAIMED'?"),
        ("device == 'seral0'", 11, "'seral0'; did you mean 'serial0'? There are: serial0, debug-port0, rtc0, -"),
        ("reason == 'mimo'", 11, "did you mean 'mmio'?"),
        ("'up' == direction", 1, "there are: none, read, write"),
        ("size == '1'", 9, "'size' is a number and \"'1'\" is a text"),
        ("size", 1, "is a number, not a condition"),
        ("size and UNCLAIMED", 1, "is a number, not a condition"),
        ("device > 'a'", 10, "a text takes == and !="),
        ("size > 5us", 8, "a time cannot be combined"),
        ("t_exit + addr > 0", 1, "a time cannot be combined"),
        ("device + 1 == 2", 1, "+ takes numbers"),
        ("data * data * data > 1", 1, "may become too large"),
        ("data > 1" + "0" * 40, 8, "the number is too large"),
        ("t_exit > 0.5ns", 10, "whole number of nanoseconds"),
        ("t_exit > 1.5", 10, "numbers are whole"),
        ("size = 1", 6, "=="),
        ("size in 5", 9, "in takes a list"),
        ("size is 5", 9, "compare values with =="),
        ("payload == 1", 1, "payload cannot be compared"),
        ("__import__('os').system('true')", 1, "not allowed in a filter"),
        ("size.real == 1", 1, "not allowed in a filter"),
        ("size == 2 ** 99", 9, "not allowed in a filter"),
        ("size == 1 # and more", 11, "no comments"),
        ("  ", 1, "is empty"),
        ("not " * 300 + "UNCLAIMED", 165, "nested too deeply"),
        ("1" * (LENGTH + 1), LENGTH + 1, "at most"),
    ],
)
def test_what_is_said_of_what_is_no_expression(trace, expression, column, problem):
    with pytest.raises(TraceError) as raised:
        compile(expression, trace)
    assert problem in str(raised.value)
    assert str(raised.value).startswith(f"filter, column {column}: ")


def test_the_place_is_shown_under_the_text(trace):
    with pytest.raises(TraceError) as raised:
        compile("UNCLAIMED and µ == 1", trace)
    lines = str(raised.value).splitlines()
    assert lines[1][lines[2].index("^")] == "µ"


# Words of the language, put together at random, find more than random characters do.
LANGUAGE = ["device", "reason", "'serial0'", "'io'", "(", ")", ",", "and", "or", "not", "in", "==", "<", "&", "|", "+"]
LANGUAGE += [
    "what",
    "value",
    "'COM1 LSR'",
    "&&",
    "3f8",
    "5 s",
    "-",
    "*",
    "5us",
    "0x3f8",
    "1",
    "-1",
    "18446744073709551616",
    "True",
    "is",
    "if",
    "lambda",
    "~",
]
WORDS = st.lists(st.sampled_from([*NUMBERS, *FLAGS, *LANGUAGE]), max_size=12).map(" ".join)


@given(st.text(max_size=60) | WORDS)
@example("\x00")
@example("\ud800")
@example("'\\d'")
@example("1or 2")
@example("5us5us")
@example("f'{size}'")
def test_any_text_is_an_error_or_a_filter(trace, expression):
    try:
        filter_ = compile(expression, trace)
    except TraceError:
        return
    for batch in described(trace.batches()):
        assert len(filter_.mask(batch)) == batch.num_rows


EDGES = [0, 1, 2, 255, 300, 1000, (1 << 32) - 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, 1 << 64, 1 << 70]
CONSTANTS = st.sampled_from([edge * sign for edge, sign in itertools.product(EDGES, (1, -1))]) | st.integers(
    -99, 40_000
)
PLAIN = st.sampled_from([name for name in NUMBERS if name not in TIMES])
WITH_UNIT = re.compile(r"(?<=\d)ns")
# What is rejected though Python would compute it: numbers that no arithmetic holds, and what is surely not meant.
REJECTED = ("too large", "64 bits with one sign", "no exit has", "two values and no column", "the list is empty")


def sums(columns):
    """Arithmetic over columns of one unit, as text that Python reads the same way."""
    leaves = columns | CONSTANTS.map(str)
    return st.recursive(
        leaves,
        lambda inner: st.tuples(inner, st.sampled_from(["+", "-", "*", "&", "|"]), inner).map(
            "({0[0]} {0[1]} {0[2]})".format
        ),
        max_leaves=4,
    )


COMPARISONS = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
ATOMS = (
    st.tuples(sums(PLAIN), COMPARISONS, sums(PLAIN)).map(" ".join)
    | st.tuples(sums(st.sampled_from(TIMES)), COMPARISONS, CONSTANTS.map("{}ns".format)).map(" ".join)
    | st.tuples(CONSTANTS.map(str), COMPARISONS, PLAIN, COMPARISONS, CONSTANTS.map(str)).map(" ".join)
    | st.sampled_from(list(FLAGS))
    | st.sampled_from([f"device == {name!r}" for name in [*DEVICES, "-"]])
    | st.sampled_from([f"reason != {name!r}" for name in REASONS])
    | st.lists(st.sampled_from(DIRECTIONS), max_size=3).map(lambda names: f"direction not in {names}")
    | st.tuples(PLAIN, st.lists(CONSTANTS, max_size=3)).map(lambda pair: f"{pair[0]} in {pair[1]}")
)
CONDITIONS = st.recursive(
    ATOMS,
    lambda inner: (
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map("({0[0]} {0[1]} {0[2]})".format)
        | inner.map("not ({})".format)
    ),
    max_leaves=5,
)


@pytest.mark.long
@given(CONDITIONS)
def test_it_selects_what_python_would(trace, expression):
    try:
        found = selected(trace, expression)
    except TraceError as error:
        assert any(rejected in str(error) for rejected in REJECTED)  # noqa: PT017
        return
    plain = WITH_UNIT.sub("", expression)
    assert found == rows_where(trace, lambda row: eval(plain, {}, row))
