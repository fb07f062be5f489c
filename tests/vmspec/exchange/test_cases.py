"""Configurations in the style of each tool's documentation become specs that vmspec accepts."""

import re
import tomllib
from textwrap import dedent

import pytest

from tests.vmspec.exchange.cases import CASES, Case, files
from vmspec.cli import main
from vmspec.document import Document

ALL = [
    pytest.param(tool, case, id=f"{tool}{number}") for tool, cases in CASES.items() for number, case in enumerate(cases)
]


@pytest.mark.parametrize(("tool", "case"), ALL)
def test_the_spec_has_the_devices_and_names_the_rest(tool, case: Case, tmp_path, monkeypatch, capsys):
    files(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "given").write_text(dedent(case.text))
    assert main(["import", tool, "given", "-o", "guest.toml"]) == 0
    said = capsys.readouterr().err.splitlines()
    assert main(["check", "guest.toml"]) == 0
    plan = Document.open("guest.toml").plan()
    devices = {device.name: {**device.options, "transport": device.transport} for device in plan.devices}
    for name, options in case.devices.items():
        assert {key: devices[name][key] for key in options} == options
    for key, value in case.vm.items():
        assert getattr(plan.vm, key) == value
    # On standard error with its place, and as a comment in the spec.
    labels = [re.sub(r"^given:\d+:\d+: ", "", line) for line in said]
    assert len(labels) == len(case.left)
    assert [label for label in case.left if not any(said.startswith(f"{label}: ") for said in labels)] == []
    comments = " ".join(line.removeprefix("# ") for line in (tmp_path / "guest.toml").read_text().splitlines())
    assert all(f"not here: {label}: " in comments for label in case.left)


@pytest.mark.parametrize(("tool", "case"), ALL)
def test_strict_writes_nothing_if_something_is_left(tool, case: Case, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "given").write_text(dedent(case.text))
    assert main(["import", "--strict", tool, "given"]) == (1 if case.left else 0)
    assert bool(tomllib.loads(capsys.readouterr().out)) is not bool(case.left)
