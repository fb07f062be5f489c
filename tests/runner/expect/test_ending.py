from runner.expect.ending import unmet
from vmspec.plan.settings import PlannedExpect


def sentences(expect, kind, status=None):
    return [str(one) for one in unmet(expect, kind, status)]


def test_an_end_and_a_status_that_are_met():
    assert sentences(PlannedExpect(exit=("reset", "debug-exit"), status=3), "debug-exit", 3) == []


def test_another_end():
    assert sentences(PlannedExpect(exit=("reset", "debug-exit"), status=3), "halt") == [
        "expect.exit: expected the end reset or debug-exit; the guest ended with halt",
        "expect.status: expected the debug-exit status 3; the guest ended with halt",
    ]


def test_another_status():
    assert sentences(PlannedExpect(status=3), "debug-exit", 0) == [
        "expect.status: expected the debug-exit status 3; it is 0"
    ]


def test_both_are_seen_in_the_last_exits():
    failures = unmet(PlannedExpect(exit=("reset",), status=3), "halt", None)
    assert [one.look for one in failures] == ["vmtrace events --last 10"] * 2
