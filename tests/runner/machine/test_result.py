import pytest

from runner.expect.ending import unmet
from runner.expect.unmet import Unmet
from runner.machine.result import Ending, status
from vmspec.plan.settings import PlannedExpect

NOTHING = PlannedExpect()


FAILURE = Unmet("expect.console[0]", "'ok' on the console", "the console printed nothing")


def outcome(expect, ending, *failures):
    return status(expect, ending, (*failures, *unmet(expect, ending.kind, ending.status)))


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("reset", 0), ("poweroff", 0), ("halt", 0),
        ("triple-fault", 4), ("internal-error", 4), ("fail-entry", 4), ("unexpected-exit", 4),
        ("timeout", 5), ("trace-failed", 6), ("kvm-error", 3), ("device-error", 2), ("backend-lost", 3),
        ("interrupted", 130), ("console-closed", 130),
    ],
)  # fmt: skip
def test_the_status_of_each_end(kind, code):
    assert outcome(NOTHING, Ending(kind)) == code


def test_debug_exit_chooses_its_status():
    assert outcome(NOTHING, Ending("debug-exit", 33)) == 33


def test_an_end_that_is_expected_is_a_success():
    assert outcome(PlannedExpect(exit=("halt",)), Ending("halt")) == 0


def test_an_end_that_is_not_expected():
    assert outcome(PlannedExpect(exit=("reset", "poweroff")), Ending("halt")) == 1


@pytest.mark.parametrize("kind", ["triple-fault", "timeout"])
def test_what_is_expected_is_no_failure(kind):
    assert outcome(PlannedExpect(exit=(kind,)), Ending(kind)) == 0


@pytest.mark.parametrize(("kind", "code"), [("triple-fault", 4), ("timeout", 5)])
def test_what_went_wrong_comes_before_what_was_expected(kind, code):
    assert outcome(PlannedExpect(exit=("halt",)), Ending(kind), FAILURE) == code


@pytest.mark.parametrize("kind", ["trace-failed", "device-error", "kvm-error", "interrupted", "console-closed"])
def test_no_expectation_hides_a_run_that_failed(kind):
    assert outcome(PlannedExpect(exit=("halt", "timeout")), Ending(kind)) not in (0, 1)


def test_an_expectation_that_is_not_met():
    assert outcome(NOTHING, Ending("halt"), FAILURE) == 1


def test_the_expected_debug_exit_status():
    assert outcome(PlannedExpect(status=33), Ending("debug-exit", 33)) == 0


def test_another_debug_exit_status():
    assert outcome(PlannedExpect(status=33), Ending("debug-exit", 35)) == 1


def test_a_status_is_expected_but_the_guest_ended_otherwise():
    assert outcome(PlannedExpect(status=33), Ending("halt")) == 1


def test_a_debug_exit_that_is_expected_is_a_success_whatever_its_status():
    assert outcome(PlannedExpect(exit=("debug-exit",)), Ending("debug-exit", 33)) == 0


def test_a_debug_exit_with_a_missing_text():
    assert outcome(NOTHING, Ending("debug-exit", 33), FAILURE) == 1


def test_only_a_triple_fault_of_the_crashes_can_be_expected():
    from vmspec.trace.ends import CRASHES, ENDS

    assert set(ENDS) & CRASHES == {"triple-fault"}
