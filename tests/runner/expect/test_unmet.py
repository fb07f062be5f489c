import shlex
from pathlib import Path

from runner.expect.unmet import Unmet, located

FAILURE = Unmet("expect.exit", "the end reset", "the guest ended with halt", "vmtrace events --last 10")


def test_it_is_a_sentence():
    assert str(FAILURE) == "expect.exit: expected the end reset; the guest ended with halt"


def test_its_command_names_the_trace_as_a_shell_reads_it():
    look = located(FAILURE, Path("/tmp/a boot's.arrow")).look
    assert shlex.split(look) == ["vmtrace", "events", "--last", "10", "/tmp/a boot's.arrow"]


def test_without_a_trace_there_is_no_command():
    assert located(FAILURE, None).look == ""
