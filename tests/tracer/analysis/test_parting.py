"""Where runs part."""

import pytest

from tests.fakes.comparefakes import exit_row, write_trace
from tracer.analysis.parting import described, nearest, parting
from tracer.read.reader import load


@pytest.fixture
def trace(tmp_path):
    """A trace of one vCPU, or of some, whose rows have these data; (vcpu, data) for other vCPUs."""
    made = []

    def make(*data, pace=1000):
        rows = [
            exit_row(vcpu=0, data=one) if isinstance(one, int) else exit_row(vcpu=one[0], data=one[1]) for one in data
        ]
        rows = [row | {"t_entry": pace * at, "t_exit": pace * at} for at, row in enumerate(rows)]
        made.append(write_trace(tmp_path / f"{len(made)}.arrow", rows))
        return load(made[-1])

    return make


def test_runs_part_at_the_first_exit_that_differs(trace):
    found = parting(trace(1, 2, 3, 4, 5), trace(1, 2, 9, 4, 8))
    assert (found.vcpu, found.row, found.a["data"], found.b["data"], found.where) == (0, 2, 3, 9, "exit 2 of vCPU 0")


def test_runs_with_the_same_exits_do_not_part(trace):
    assert parting(trace(1, 2), trace(1, 2)) is None


@pytest.mark.parametrize(("a", "b", "left"), [((1, 2), (1,), "a"), ((1,), (1, 2), "b"), ((), (1,), "b")])
def test_a_run_that_ends_earlier_parts_at_its_end(trace, a, b, left):
    found = parting(trace(*a), trace(*b))
    assert (found.row, getattr(found, left) is None, getattr(found, "ab".replace(left, "")) is None) == (
        min(len(a), len(b)), False, True,
    )  # fmt: skip


def test_of_several_vcpus_the_first_one_that_parts_counts(trace):
    found = parting(trace((0, 1), (1, 1), (1, 2), (0, 2)), trace((0, 1), (1, 1), (1, 3), (0, 4)))
    assert (found.vcpu, found.row) == (1, 1)


def test_the_nearest_run_parts_last(trace):
    """Two coins: only the second one decides, and a run that threw the first one alike shows it."""
    failed = trace(1, 0, 5, 0, 6)
    passed = [trace(1, 1, 5, 1, 6), trace(1, 0, 5, 1, 6), trace(1, 1, 5, 1, 6)]
    other, found = nearest(failed, passed)
    assert (other, found.row) == (passed[1], 3)


@pytest.mark.parametrize("paces", [(1, 1000), (1000, 1)])
def test_how_fast_a_run_was_does_not_make_it_nearer(trace, paces):
    failed = trace(1, 0, 5, 0, 6, pace=30)
    passed = [trace(1, 0, 5, 1, 6, pace=paces[0]), trace(1, 1, 5, 1, 6, pace=paces[1])]
    assert nearest(failed, passed)[1].row == 3


@pytest.mark.parametrize("at", [0, 1])
def test_a_run_that_has_ended_is_nearest_to_one_that_goes_on(trace, at):
    """The failed run has ended: what counts is how many of its exits the other shares."""
    failed = trace(1, 0)
    passed = [trace(1, 9, 9, 9), trace(1, 0, 5)]
    assert nearest(failed, passed[::-1] if at else passed)[1].row == 2


def test_a_run_that_is_the_same_is_the_nearest(trace):
    other = trace(1, 2)
    assert nearest(trace(1, 2), [trace(1, 3), other]) == (other, None)


def test_an_exit_in_words():
    access = exit_row(data=0x41, place="")
    assert described(access) == "io write 0x3f8 data 0x41 (serial0)"
    assert described(access | {"place": "card0 bar2+0x8"}) == "io write 0x3f8 data 0x41 (card0 bar2+0x8)"
    assert described(access | {"reason": "hlt", "direction": "none", "device": "-"}) == "hlt"
    assert described(None) == "has ended before"
