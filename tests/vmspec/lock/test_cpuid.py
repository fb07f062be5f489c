"""``vmspec cpuid``, on a host that tests make up."""

from pathlib import Path

import pytest

from tests.vmspec.lock.locks import LOCK
from tests.vmspec.lock.test_command import provider  # noqa: F401
from vmspec.cli import main
from vmspec.plan.cpu_model_file import CpuModelText, dumps, load
from vmspec.schema.cpuid_leaves import Answer, Leaf


@pytest.fixture
def folder(tmp_path, monkeypatch, provider):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    return provider


def test_the_model_of_this_host(folder, capsys):
    assert main(["cpuid"]) == 0
    assert CpuModelText(capsys.readouterr().out).leaves == LOCK.host.must.cpuid
    assert (main(["cpuid", "-o", "m.toml"]), capsys.readouterr().out) == (0, "")
    assert load(Path("m.toml")) == LOCK.host.must.cpuid


def test_the_common_model_of_two(folder, capsys):
    for name, bits in (("a.toml", 0x6), ("b.toml", 0x3)):
        Path(name).write_text(dumps({Leaf(7, 0): Answer(0, bits, 0, 0)}))
    assert main(["cpuid", "--common", "a.toml", "b.toml"]) == 0
    assert CpuModelText(capsys.readouterr().out).leaves == {Leaf(7, 0): Answer(0, 2, 0, 0)}


def test_processors_without_a_common_model_are_status_1(folder, capsys):
    for name, vendor in (("a.toml", 1), ("b.toml", 2)):
        Path(name).write_text(dumps({Leaf(0): Answer(0, vendor, 0, 0)}))
    assert main(["cpuid", "--common", "a.toml", "b.toml", "-o", "c.toml"]) == 1
    output = capsys.readouterr()
    assert (output.out, output.err) == (
        "",
        "vmspec: these processors have no common model: one lacks leaf 0x00000000 ebx of 0x1: it has 0x2, which "
        "must be the same\n",
    )
    assert not Path("c.toml").exists()


def test_a_file_that_is_no_model_is_status_2(folder, capsys):
    Path("a.toml").write_text("format = 1\n")
    assert main(["cpuid", "--common", "a.toml", "no.toml"]) == 2
    assert capsys.readouterr().err == "a.toml:1:1: cpuid: is missing; allowed: a table of lines such as " + (
        '"0x00000007.0" = "00000002 00000000 00000000 00000000"\n'
    )
    assert main(["cpuid", "--common", "no.toml"]) == 2
    assert capsys.readouterr().err == "no.toml: cannot be read: No such file or directory\n"


def test_a_host_that_cannot_be_asked_is_status_3(folder, capsys):
    folder("failing")
    assert main(["cpuid"]) == 3
    assert "KVM is not there" in capsys.readouterr().err
