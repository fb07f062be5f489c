from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.expect import tap as tap_module
from runner.expect.cases import counted
from runner.expect.tap import DEEPEST, MOST, Tap
from runner.expect.tapcases import SHOWN, Report

HERE = Path(__file__).parent


def report(text, kernel=True):
    tap = Tap(kernel)
    for line in text.splitlines():
        tap.line(line)
    tap.end()
    return Report(tap)


def shown(found):
    return [(case.path, case.outcome, case.detail) for case in found.cases]


def ktap(*lines, plan=None):
    """A document of results on the top level."""
    return "\n".join(["KTAP version 1", f"1..{len(lines) if plan is None else plan}", *lines])


def test_kunit():
    found = report((HERE / "kunit.txt").read_text())
    assert shown(found) == [
        ("example/example_simple_test", "passed", ""),
        ("example/example_skip_test", "skipped", "this test should be skipped"),
        ("example/example_mark_skipped_test", "skipped", "this test should be skipped"),
        ("example/example_params_test/example value 3", "passed", ""),
        ("example/example_params_test/example value 2", "skipped", "unsupported param value 2"),
        ("example/example_params_test/example value 1", "passed", ""),
        ("example/example_params_test/example value 0", "skipped", "unsupported param value 0"),
        ("example/example_slow_test", "passed", ""),
        ("list_sort/list_sort_test", "failed", ""),
        ("time_test_cases/time64_to_tm_test_date_range", "passed", ""),
    ]
    assert found.faults == [
        (
            "test case 'list_sort/list_sort_test' to pass",
            "it failed: 'list_sort_test: EXPECTATION FAILED at lib/test_list_sort.c:98'",
        )
    ]
    assert counted(found.cases) == "10 test cases: 5 passed, 1 failed, 4 skipped"


def test_kselftest():
    found = report((HERE / "kselftest.txt").read_text())
    assert shown(found) == [
        ("selftests: timers: posix_timers/check_itimer(ITIMER_VIRTUAL)", "passed", ""),
        ("selftests: timers: posix_timers/check_itimer(ITIMER_PROF)", "passed", ""),
        ("selftests: timers: nanosleep", "failed", "TIMEOUT 45 seconds"),
        ("selftests: timers: rtctest", "skipped", ""),
        ("selftests: timers: freq-step/clock is monotonic", "passed", ""),
        ("selftests: timers: freq-step/clock is steady", "xfail", "virtual machine"),
    ]
    assert [came for _, came in found.faults] == [
        "it failed: 'TIMEOUT 45 seconds'",
        "the guest bailed out: 'clock_adjtime failed'",
    ]


def test_kunit_before_it_had_versions_of_subtests():
    text = "TAP version 14\n1..1\n    # Subtest: suite\n    1..2\n    ok 1 - first\n    ok 2 - second\nok 1 - suite"
    assert (shown(report(text)), report(text).faults) == (
        [("suite/first", "passed", ""), ("suite/second", "passed", "")],
        [],
    )


def test_tap_14():
    text = """\
TAP version 14
# Subtest: foo.js
    # Subtest: inner
        ok 1 - deep
        1..1
    ok 1 - inner # time=1ms
    1..1
ok 1 - foo.js
    ok 1 - bare
    1..1
ok 2 - unannounced
ok - unnumbered \\# 3
  ---
  duration_ms: 2
  ...
1..3
"""
    found = report(text, kernel=False)
    assert [path for path, *_ in shown(found)] == ["foo.js/inner/deep", "unannounced/bare", "unnumbered # 3"]
    assert found.faults == []


def test_tap_without_a_version():
    assert shown(report("noise\n1..2\nok\nnot ok # TODO later\n", kernel=False)) == [
        ("1", "passed", ""),
        ("2", "xfail", "later"),
    ]


@pytest.mark.parametrize("kernel", [True, False])
def test_results_before_any_document_mean_nothing_in_ktap(kernel):
    assert len(report("ok 1 name", kernel).cases) == (0 if kernel else 1)


@pytest.mark.parametrize(
    "prefix",
    ["", "[    1.234567] ", "[    1.234567][    T1] ", "<6>[    1.234567] ", "[12345.678901][ C0] "],
)
def test_what_printk_writes_before_a_line(prefix):
    text = "\n".join(
        prefix + line for line in ktap("  KTAP version 1", "  1..1", "  ok 1 in", "ok 1 out", plan=1).split("\n")
    )
    assert (shown(report(text)), report(text).faults) == ([("out/in", "passed", "")], [])


@pytest.mark.parametrize(
    ("line", "outcome", "detail"),
    [
        ("ok 1 x", "passed", ""),
        ("ok 1 x # rcode=0", "passed", "rcode=0"),
        ("not ok 1 x # exit=3", "failed", "exit=3"),
        ("not ok 1 x # SKIP no device", "skipped", "no device"),
        ("ok 1 x # skip no device", "skipped", "no device"),
        ("ok 1 x # SKIPPED: no device", "skipped", ": no device"),
        ("not ok 1 x # TODO later", "xfail", "later"),
        ("ok 1 x # TODO later", "passed", "later"),
        ("not ok 1 x # XFAIL on x86", "xfail", "on x86"),
        ("not ok 1 x # TIMEOUT 45 seconds", "failed", "TIMEOUT 45 seconds"),
        ("ok 1 x # ERROR lost", "failed", "ERROR lost"),
        ("ok 1 - x", "passed", ""),
    ],
)
def test_results(line, outcome, detail):
    found = report(ktap(line))
    assert shown(found) == [("x", outcome, detail)]
    assert bool(found.faults) == (outcome == "failed")


PASSED = ("ok 1 a", "ok 2 b", "ok 3 c")


@pytest.mark.parametrize(
    ("text", "expected", "came"),
    [
        ("login: ", "test cases in KTAP on the console", "no line of it came"),
        ("KTAP version 1\nok 1 a", "a plan (1..N) of the test cases", "none came"),
        (ktap(*PASSED, plan=4), "4 results", "3 came, the last is 'c'"),
        (ktap(*PASSED, plan=2), "2 results", "3 came, the last is 'c'"),
        (ktap(plan=1), "1 result", "0 came"),
        (ktap(), "at least one test case", "the plan is 1..0"),
        (ktap("ok 1 a", "ok 3 c"), "result 2", "it has the number 3"),
        (ktap("ok 1 a", "1..1", plan=1), "one plan", "2 came"),
        (ktap("ok 1 a", "Bail out! no memory", plan=2), "all test cases", "the guest bailed out: 'no memory'"),
        (ktap("ok 1 a", "not ok 2 b"), "test case 'b' to pass", "it failed"),
        (ktap("# why", "not ok 1 b", plan=1), "test case 'b' to pass", "it failed: 'why'"),
        (
            ktap("  KTAP version 1", "  1..2", "  ok 1 in", "ok 1 out", plan=1),
            "2 results of 'out'", "1 came, the last is 'in'",
        ),
        (
            ktap("  KTAP version 1", "  1..1", "  not ok 1 in", "ok 1 out", plan=1),
            "test case 'out/in' to pass", "it failed",
        ),
        (
            ktap("  KTAP version 1", "  1..1", "  ok 1 in", "not ok 1 out", plan=1),
            "test case 'out' to pass", "it failed",
        ),
    ],
)  # fmt: skip
def test_one_thing_that_is_wrong(text, expected, came):
    assert report(text).faults == [(expected, came)]


def test_a_guest_that_stops_within_a_subtest():
    text = ktap("    KTAP version 1", "    # Subtest: suite", "    1..2", "    ok 1 in", plan=1)
    assert report(text).faults == [
        ("1 result", "0 came"),
        ("2 results of 'suite'", "1 came, the last is 'in'"),
        ("a result of 'suite'", "none came after its test cases"),
    ]


@pytest.mark.parametrize(
    ("kernel", "lines"),
    [
        (False, ["# Subtest: suite", "    1..2", "    ok 1 in"]),
        (False, ["# Subtest: suite", "    # Subtest: inner", "        ok 1", "        1..1", "    ok 1 in"]),
        (False, ["# Subtest: suite", "  1..2", "  ok 1 in"]),
        (True, ["    # Subtest: suite", "    1..2", "    ok 1 in"]),
        (True, ["# Subtest: suite", "  1..2", "  ok 1 in"]),
    ],
)
def test_a_subtest_that_stops_has_the_name_by_which_it_was_announced(kernel, lines):
    found = report("\n".join(["TAP version 14", "1..1", *lines]), kernel)
    assert ("a result of 'suite'", "none came after its test cases") in found.faults


def test_a_subtest_without_a_name_has_the_number_of_its_result():
    found = report(ktap("ok 1 a", "  KTAP version 1", plan=2))
    assert ("a result of '2'", "none came after its test cases") in found.faults


@pytest.mark.parametrize("stray", ["    ok 1 stray", "XX ok 1 stray", "ok one", "# ok 1 stray", "    1..9"])
def test_lines_that_are_no_results_of_ktap(stray):
    found = report(ktap(stray, "ok 1 a", plan=1))
    assert (shown(found), found.faults) == ([("a", "passed", "")], [])


def test_results_in_comments_are_in_the_log():
    [case] = report(ktap("# one", "# ok 1 two", "not ok 1 a", plan=1)).cases
    assert case.log == "one\n# ok 1 two"


@pytest.mark.parametrize("directive", ["SKIP", "XFAIL"])
def test_what_fails_within_a_test_that_does_not_count_is_no_failure(directive):
    inner = ["  KTAP version 1", "  1..1", "    KTAP version 1", "    1..1", "    not ok 1 in", "  not ok 1 mid"]
    found = report(ktap(*inner, f"not ok 1 out # {directive}", plan=1))
    assert (shown(found), found.faults) == ([("out/mid/in", "xfail", "")], [])


def test_a_plan_that_skips_everything():
    found = report("1..0 # SKIP no network", kernel=False)
    assert (shown(found), found.faults) == ([("all", "skipped", "no network")], [])


def test_each_document_counts():
    found = report(f"{ktap('ok 1 a')}\n{ktap('not ok 1 b')}\n{ktap('ok 1 c', plan=2)}")
    assert [came for _, came in found.faults] == ["it failed", "1 came, the last is 'c'"]


def test_the_first_failures_are_named():
    found = report(ktap(*(f"not ok {n} t{n}" for n in range(1, SHOWN + 4))))
    unmet = list(found.unmet())
    assert (unmet[0].key, unmet[0].look, len(unmet)) == ("expect.ktap", "vmtrace console", SHOWN + 1)
    assert str(unmet[-1]) == "expect.ktap: expected no other failure; there are 3 more"


def test_a_guest_that_never_ends_its_results(monkeypatch):
    monkeypatch.setattr(tap_module, "MOST", 5)
    found = report(ktap(*(f"ok {n} t" for n in range(1, 9))))
    assert (len(found.cases), found.faults) == (5, [(f"up to {MOST:,} results", "3 more came")])
    assert len(report("KTAP version 1\n" * 9).faults) == 5


def test_levels_that_are_too_deep_mean_nothing():
    found = report("\n".join("  " * level + "KTAP version 1" for level in range(2 * DEEPEST)))
    assert len(found.faults) == 1 + DEEPEST - 1


PIECES = st.sampled_from(
    ["KTAP version 1", "TAP version 13", "# Subtest: x", "1..2", "1..0", "ok 1 a", "not ok 2 b", "ok 1", "ok",
     "# ok 1 a", "Bail out!", "# SKIP", "[    1.0] ", "    ", "  ", "# ", "\t", "1..99999999999", "ok 1 # TODO x"]
)  # fmt: skip
LINES = st.lists(st.lists(PIECES | st.text(max_size=5), max_size=4).map("".join), max_size=30)


@given(LINES, st.booleans())
def test_no_text_breaks_it(lines, kernel):
    found = report("\n".join(lines), kernel)
    assert all(str(one).isprintable() for one in found.unmet())
    assert found.faults or found.cases


@st.composite
def documents(draw, deep=2):
    """Lines of a document in which all is well, and the paths of its cases."""
    lines, paths = ["KTAP version 1"], []
    count = draw(st.integers(1, 3))
    lines.append(f"1..{count}")
    for number in range(1, count + 1):
        name = f"t{number}"
        inner, below = draw(documents(deep - 1)) if deep and draw(st.booleans()) else ([], [])
        lines += [f"  {line}" for line in inner] + [f"ok {number} {name}"]
        paths += [f"{name}/{path}" for path in below] or [name]
    return lines, paths


@given(documents(), st.data())
def test_a_document_in_which_a_result_is_lost_is_never_well(document, data):
    lines, paths = document
    found = report("\n".join(lines))
    assert ([case.path for case in found.cases], found.faults) == (paths, [])
    lost = data.draw(st.sampled_from([n for n, line in enumerate(lines) if "ok" in line]))
    assert report("\n".join(lines[:lost] + lines[lost + 1 :])).faults
