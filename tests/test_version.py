"""The version is defined in one place, and each command prints it."""

from importlib.metadata import version

import pytest

import runner.cli
import tracer.cli
import vmspec.cli


@pytest.mark.parametrize("command", [runner.cli, tracer.cli, vmspec.cli])
def test_each_command_says_the_version(command, capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(["--version"])
    assert (ended.value.code, capsys.readouterr().out.split()[1:]) == (0, [vmspec.__version__])


def test_it_is_the_installed_one():
    assert version("vmrun") == vmspec.__version__
