"""Two sets of runs: medians, spreads, and the rule that says which differ."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.comparefakes import exit_row, write_trace
from tracer.analysis.distribution import change, spread
from tracer.cli import main


def runs(values):
    """Runs of one quantity."""
    return [{"q": value} for value in values]


@pytest.mark.parametrize(
    ("a", "b", "differs"),
    [
        ([100], [104], False),  # within the threshold
        ([100], [106], True),
        ([100], [94], True),
        ([100, 110, 90], [106, 116, 96], False),  # beyond it, but within the noise
        ([100, 101, 99], [106, 107, 105], False),  # 6 apart, 3 * 2 * 1.4826 are 8.9
        ([100, 100, 101, 99, 100], [110, 110, 111, 109, 110], True),
        ([100, 100, 100, 100, 1000], [100, 100, 100, 100, 100], False),  # one outlier
        ([0], [0], False),
        ([0, 0, 0], [1, 1, 1], True),
        ([0, 0, 0, 0, 0], [0, 0, 0, 0, 9], False),
        ([5], [0], True),
    ],
)
def test_the_rule(a, b, differs):
    assert change("q", runs(a), runs(b), 0.05, 3).differs == differs


def test_medians_spreads_and_change():
    found = change("q", runs([1, 2, 4, 8, 100]), runs([8, 8, 8]), 0.05, 3)
    assert (found.a, found.b, found.b_spread, found.change) == (4, 8, 0, 1.0)
    assert found.a_spread == pytest.approx(3 * 1.4826)
    assert change("q", runs([0]), runs([8]), 0.05, 3).change is None


NUMBERS = st.lists(st.integers(0, 1 << 40), min_size=1, max_size=9)


@given(NUMBERS)
def test_a_side_does_not_differ_from_itself(values):
    assert not change("q", runs(values), runs(values[::-1]), 0, 0).differs


@given(NUMBERS, st.integers(0, 1 << 40))
def test_a_spread_does_not_go_with_the_place(values, shift):
    assert spread([value + shift for value in values]) == pytest.approx(spread(values))


def console(text, *, step=1000, more=0):
    """Rows that print, a byte each ``step`` ns, and as many more exits of another device."""
    rows = [exit_row(data=byte, t_exit=step * n, t_entry=step * n + 400) for n, byte in enumerate(text)]
    last = step * len(text)
    rows += [exit_row(addr=0x70, device="rtc0", t_exit=last, t_entry=last + 10) for _ in range(more)]
    return rows


@pytest.fixture
def stat(tmp_path, capsys):
    """Runs ``vmtrace diff --stat`` on runs, each a list of rows; gives its status, and tables by quantity or errors."""

    def run(a, b, *options):
        names = [
            [str(write_trace(tmp_path / f"{side}{n}.arrow", rows)) for n, rows in enumerate(runs)]
            for side, runs in (("a", a), ("b", b))
        ]
        status = main(["diff", "--stat", *names[0], "--against", *names[1], "--json", *options])
        out, err = capsys.readouterr()
        if status == 2:
            return status, err
        return status, {row["quantity"]: row for table in json.loads(out).values() for row in table}

    return run


def test_boots_that_are_alike(stat):
    status, found = stat([console(b"hello\n")] * 3, [console(b"hello\n")] * 3, "--line", "hell")
    assert status == 0
    assert found["to 'hell'"]["a"] == 0
    assert found["exits all"]["a"] == 6


def test_a_slower_boot(stat):
    text = b"one\ntwo\nthree\n"
    status, found = stat([console(text)] * 3, [console(text, step=1200)] * 2, "--line", "three")
    assert status == 1
    assert (found["to 'three'"]["a"], found["to 'three'"]["b"]) == (8000, 9600)
    assert found["to 'three'"]["change"] == pytest.approx(0.2)
    assert not found["exits all"]["differs"]


def test_more_exits(stat):
    status, found = stat([console(b"x" * 10)], [console(b"x" * 10, more=2)])
    assert status == 1
    assert [name for name, row in found.items() if row["differs"] and name.startswith("exits")] == [
        "exits all",
        "exits reason io",
        "exits device rtc0",
        "exits address rtc0 io 0x70 write",
    ]
    assert found["handling device rtc0"]["b"] == 20


def test_only_what_is_asked_for(stat):
    status, found = stat([console(b"x" * 10)], [console(b"x" * 10, more=2)], "--only", "exits device serial*")
    assert (status, list(found)) == (0, ["exits device serial0"])


def test_a_line_that_a_run_does_not_print_differs(stat):
    status, found = stat([console(b"login:\n")] * 2, [console(b"login:\n"), console(b"panic!\n")], "--line", "login")
    assert status == 1
    assert (found["to 'login'"]["a"], found["to 'login'"]["b"], found["to 'login'"]["differs"]) == (0, None, True)


def test_thresholds(stat):
    sides = [console(b"x" * 100)], [console(b"x" * 108)]
    assert stat(*sides, "--only", "exits all", "--threshold", "10%")[0] == 0
    assert stat(*sides, "--only", "exits all", "--threshold", "0.05")[0] == 1


@pytest.mark.parametrize(
    ("options", "words"), [(["--line", "login"], "no run prints"), (["--only", "speed"], "no quantity matches")]
)
def test_what_no_run_has(stat, options, words):
    status, error = stat([console(b"a\n")], [console(b"a\n")], *options)
    assert status == 2
    assert words in error


def test_for_people(tmp_path, capsys):
    paths = [str(write_trace(tmp_path / f"{n}.arrow", console(b"x" * 10 * n))) for n in (1, 2)]
    assert main(["diff", "--stat", paths[0], "--against", paths[1]]) == 1
    assert "fewer than 5 per side" in capsys.readouterr().out
