"""The rows around a first difference."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.comparefakes import exit_row, write_trace
from tests.fakes.examples import DEAR
from tracer.analysis.difference import compare
from tracer.analysis.hunks import BOTH, ONLY_A, ONLY_B
from tracer.read.reader import load


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    """The lines for vCPU 1 of two streams of numbers, with other rows of vCPU 0 between theirs."""
    folder = tmp_path_factory.mktemp("hunks")

    def run(a, b, context=2):
        traces = []
        for name, stream in (("a", a), ("b", b)):
            rows = [row for number in stream for row in (exit_row(), exit_row(vcpu=1, data=number))]
            traces.append(load(write_trace(folder / f"{name}.arrow", rows, batch=7)))
        return compare(*traces, context=context).hunks.get(1, ())

    return run


STREAM = st.lists(st.integers(0, 3), max_size=60)


@pytest.mark.long
@DEAR
@given(STREAM, STREAM, st.integers(0, 4))
def test_each_line_is_the_row_that_it_names(lines, a, b, context):
    found = lines(a, b, context)
    assert bool(found) == (a != b)
    for line in found:
        if line.left_out:
            continue
        match line.mark:
            case " ":
                assert a[line.row_a] == b[line.row_b] == line.values["data"]
            case "-":
                assert a[line.row_a] == line.values["data"]
            case "+":
                assert b[line.row_b] == line.values["data"]
        assert line.differs in ((), ("data",))
    if found:
        first = next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
        before = found[: min(context, first)]
        assert [(line.mark, line.row_a) for line in before] == [
            (BOTH, n) for n in range(first - min(context, first), first)
        ]
        assert found[len(before)].mark in (ONLY_A, ONLY_B)


@pytest.mark.long
def test_close_differences_are_shown_together(lines):
    a = [n * n for n in range(200)]
    b = [*a[:50], 7, a[51], *a[53:]]
    assert [(line.mark, line.row_a, line.row_b) for line in lines(a, b)] == [
        (" ", 48, 48),
        (" ", 49, 49),
        ("-", 50, 50),
        ("+", 50, 50),
        (" ", 51, 51),
        ("-", 52, None),
        (" ", 53, 52),
        (" ", 54, 53),
    ]


def test_long_blocks_are_cut(lines):
    a = [n * n for n in range(200)]
    found = lines(a, a[:50])
    assert [line.mark for line in found] == [BOTH] * 2 + [ONLY_A] * 9
    assert found[-1].left_out == 142
