"""The plugin, in a pytest of its own."""

import pytest

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.kvm

GUEST = '[vm]\nname = "guest"\nmemory = "1MiB"\n[boot]\nmode = "real"\ncode = "{code}"\n{rest}\n'
PRINT = "b0 41 e6 e9 f4"  # mov al, 'A'; out 0xe9, al; hlt
DEBUG = '[[device]]\nkind = "debug-port"\n'


def guest(rest="", code=PRINT):
    return GUEST.format(code=code, rest=DEBUG + rest)


@pytest.fixture
def files(pytester):
    """Writes files, and runs pytest on them."""

    def run(*arguments, **texts):
        for name, text in texts.items():
            (pytester.path / name.replace("__", ".")).write_text(text)
        return pytester.runpytest_subprocess("-p", "no:hypothesispytest", *arguments)

    return run


def test_specs_of_a_name_are_tests_and_no_other_file_is(files):
    result = files(
        "-v", "-ra",
        test_boot__toml=guest('[expect]\nconsole = "A"\n[matrix]\nvm.vcpus = [1, 2]\n'),
        test_data__toml="[project]\nname = 'x'\n",
        other__toml=guest(),
        test_fails__toml=guest('[expect]\nconsole = "B"\n'),
        test_skip__toml=guest('[test]\nskip = "not today"\n'),
        test_wrong__toml=guest("[vmm]\n"),
        test_torn__toml="x = [",
    )  # fmt: skip
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*test_torn.toml:1:6: is not TOML*"])
    result = files("-v", "-ra", "--ignore=test_torn.toml")
    result.assert_outcomes(passed=2, failed=2, skipped=1)
    result.stdout.fnmatch_lines(
        [
            "*test_boot.toml::test_boot[[]vm.vcpus=1] PASSED*",
            "*test_boot.toml::test_boot[[]vm.vcpus=2] PASSED*",
            "expectation failed: expect.console*: expected 'B' on the console*",
            "*Captured console call*",
            "A",
            "to see it: vmtrace console *",
            "*test_wrong.toml:*: vmm: unknown key*",
            "SKIPPED*not today",
        ]
    )
    assert "runtest" not in result.stdout.str()


def test_a_setting_selects_other_specs_and_the_command_line_any(files):
    plain = {"test_b__toml": guest(), "boot__toml": guest()}
    result = files("boot.toml", pytest__ini="[pytest]\nvmrun_specs = sub/*.toml\n", **plain)
    result.assert_outcomes(passed=1)


def test_the_fixture_starts_machines(files):
    # in al, dx; out 0xe9, al: echoes what is typed into the serial port, as soon as it is there
    echo = "ba fd 03 ec a8 01 74 fb ba f8 03 ec e6 e9 3c 71 75 ee f4"
    spec = guest('[[device]]\nkind = "serial"\n[trace]\npath = "x.arrow"\n', echo)
    result = files(
        boot__toml=spec,
        test_vm__py="""
import os
import re
import pytest
from runner.pytestplugin import NotPrintedError

def test_talk(vm):
    guest = vm.start("boot.toml", overrides=["vm.name=talker"])
    guest.send("hello ")
    guest.wait_for("hello")
    guest.send("world 42")
    assert guest.wait_for(re.compile("[0-9]{2}"))[0] == "42"
    with pytest.raises(NotPrintedError, match="did not print 'hello' within 0.1 s"):
        guest.wait_for("hello", timeout=0.1)
    guest.send("q")
    assert (guest.status, guest.console) == (0, "hello world 42q")
    with pytest.raises(NotPrintedError, match="before the run ended"):
        guest.wait_for("more")
    with pytest.raises(BrokenPipeError):
        guest.send("more")
    assert guest.trace().spec["vm"]["name"] == "talker"

def test_two_that_are_not_ended(vm):
    one, other = vm.start("boot.toml", trace=False), vm.start("boot.toml")
    other.send("x")
    other.wait_for("x")
    assert one.console == ""
    test_two_that_are_not_ended.guests = vm.guests

def test_nothing_is_left(vm):
    before = os.listdir("/proc/self/fd")
    vm.start("boot.toml").stop()
    assert len(os.listdir("/proc/self/fd")) == len(before)
    assert [guest.result().kind for guest in test_two_that_are_not_ended.guests] == ["interrupted"] * 2

def test_a_spec_that_is_wrong(vm):
    with pytest.raises(Exception, match="none.toml"):
        vm.start("none.toml")
""",
    )
    result.assert_outcomes(passed=4)


def test_workers_of_xdist_run_specs(pytester):
    (pytester.path / "test_boot.toml").write_text(guest('output = "log"\n[matrix]\nvm.vcpus = [1, 2]\n'))
    pytester.runpytest_subprocess("-p", "no:hypothesispytest", "-n", "2").assert_outcomes(passed=2)
