"""How a case did in its runs."""

import pytest

from runner.expect.unmet import Unmet
from runner.machine.result import Result
from runner.suite.collect import Case
from runner.suite.verdict import Report, interrupted, reasons
from runner.workers.task import Outcome

CASE = Case("spec", "spec.toml")


def outcome(status, kind="halt", error="", **fields):
    result = None if error else Result(kind, status, "", b"", None, {}, 0.1)._replace(**fields)
    return Outcome(status, result, error, 0.0, 0.2)


@pytest.mark.parametrize(
    ("statuses", "verdict", "headline"),
    [
        ([0], "passed", "passed"),
        ([1], "failed", "failed"),
        ([0, 0], "passed", "passed, 0 of 2 runs failed"),
        ([4, 1, 4], "failed", "failed, 3 of 3 runs failed"),
        ([0, 4, 0], "flaky", "flaky, 1 of 3 runs failed"),
    ],
)
def test_the_verdict_of_runs(statuses, verdict, headline):
    report = Report(CASE, tuple(map(outcome, statuses)))
    assert (report.verdict, report.headline) == (verdict, headline)


def test_a_case_passes_with_the_status_that_it_names():
    assert Report(CASE._replace(status=33), (outcome(33),)).verdict == "passed"
    assert Report(CASE._replace(status=33), (outcome(0),)).verdict == "failed"


def test_what_could_not_be_run_is_an_error_whatever_status_is_wanted():
    assert Report(CASE._replace(status=3), (outcome(3, error="no KVM"),)).verdict == "error"
    assert Report(CASE, (outcome(0), outcome(3, error="lost"))).verdict == "flaky"
    assert Report(CASE._replace(broken="x")).verdict == "error"
    assert Report(CASE._replace(skip="x")).verdict == "skipped"


def test_what_the_user_has_ended_tells_nothing():
    assert [interrupted(one) for one in (outcome(130, "interrupted"), outcome(130, error="x"), outcome(0))] == [
        True, True, False,
    ]  # fmt: skip


def test_the_reasons_are_the_unmet_expectations():
    one = outcome(1, unmet=(Unmet("expect.exit", "the end reset", "the guest ended with halt"),))
    assert [*reasons(one, CASE)] == [
        "expectation failed: expect.exit: expected the end reset; the guest ended with halt"
    ]


@pytest.mark.parametrize(
    ("one", "case", "said"),
    [
        (outcome(5, "timeout", detail="the guest did not end"), CASE,
         "it ended with timeout, exit status 5: the guest did not end"),
        (outcome(0), CASE._replace(status=33), "it ended with halt, exit status 0, not 33 (test.status)"),
        (outcome(2, error="a.toml:1:1: wrong"), CASE, "a.toml:1:1: wrong"),
    ],
)  # fmt: skip
def test_other_reasons(one, case, said):
    assert [*reasons(one, case)] == [said]
