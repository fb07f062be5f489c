"""Each expectation has a guest that meets it, and one that misses it by one."""

import pytest

pytestmark = pytest.mark.kvm

DEBUG = {"kind": "debug-port"}


@pytest.fixture
def said(run_guest, assemble):
    """Runs a guest that prints a text, and returns the result."""

    def run(text, **spec):
        text = text.encode()
        code = f"mov $text, %si\n mov ${len(text)}, %cx\n mov $0xe9, %dx\n cld\n rep outsb\n hlt\n text:"
        return run_guest(assemble(code) + text, devices=[DEBUG], **spec)

    return run


KTAP = "[    0.5] KTAP version 1\n[    0.5] 1..2\n[    0.5] ok 1 a\n[    0.5] {}ok 2 b\n"


@pytest.mark.parametrize(
    ("expect", "met", "missed", "key", "came"),
    [
        (
            {"console": ["one", "two"]}, "one two", "two one",
            "console[1]", "it never came, and the last line is 'two one'",
        ),
        ({"absent": ["panic"]}, "pani", "a panic", "absent[0]", "the console printed it"),
        (
            {"patterns": [r"^login: $", r"\d+ s"]}, "up 12 s\r\nlogin: ", "up 1 s\nlogin:",
            "patterns[0]", "no line matches it",
        ),
        ({"forbidden": [r"\bBUG\b"]}, "DEBUG", "x\na BUG: 1", "forbidden[0]", "the console printed 'a BUG: 1'"),
        ({"ktap": True}, KTAP.format(""), KTAP.format("not "), "ktap", "it failed"),
        ({"ktap": True}, KTAP.format(""), KTAP.format("")[:-17], "ktap", "1 came, the last is 'a'"),
        ({"tap": True}, "1..1\nok", "1..2\nok", "tap", "1 came, the last is '1'"),
        ({"exit": ["halt"]}, "", None, "exit", "the guest ended with debug-exit"),
    ],
)  # fmt: skip
def test_an_expectation_of_the_console_and_the_end(said, run_guest, expect, met, missed, key, came):
    result = said(met, expect=expect)
    assert (result.status, result.unmet) == (0, ())
    if missed is None:
        result = run_guest("b0 00 e6 f4 eb fe", devices=[{"kind": "debug-exit"}], expect=expect)
    else:
        result = said(missed, expect=expect)
    [failure] = result.unmet
    assert (result.status, failure.key, failure.came) == (1, f"expect.{key}", came)
    assert failure.look.endswith(f" {result.trace}")


def test_a_status(run_guest):
    def run(status):
        return run_guest(f"b0 {status:02x} e6 f4 eb fe", devices=[{"kind": "debug-exit"}], expect={"status": 3})

    assert (run(1).status, run(2).status) == (0, 1)
    assert run(2).unmet[0].came == "it is 5"


def test_the_cases_are_in_the_result(said):
    result = said(KTAP.format(""), expect={"ktap": True}, trace=None)
    assert [(case.path, case.outcome) for case in result.cases] == [("a", "passed"), ("b", "passed")]


def test_without_a_trace_no_place_in_it_is_named(said):
    [failure] = said("", expect={"console": ["x"]}, trace=None).unmet
    assert failure.look == ""


def test_a_crash_in_the_middle_of_tests(run_guest, assemble):
    text = KTAP.format("")[:-17].encode()
    code = f"mov $text, %esi\n mov ${len(text)}, %ecx\n mov $0xe9, %dx\n cld\n rep outsb\n ud2\n text:"
    result = run_guest(
        assemble(code, bits=32) + text, boot={"mode": "protected"}, devices=[DEBUG], expect={"ktap": True}
    )
    assert (result.kind, result.status) == ("triple-fault", 4)
    assert [one.came for one in result.unmet] == ["1 came, the last is 'a'"]
