"""A trace's facts about its host."""

import io
from pathlib import Path

import pytest

from runner.recording import facts

CPUINFO = """processor\t: 0
vendor_id\t: GenuineIntel
model\t\t: 143
model name\t: Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz: 2
stepping\t: 8

processor\t: 1
model name\t: another
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [(CPUINFO, "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz: 2"), ("model\t: 1\n", ""), ("", "")],
)
def test_the_processor_is_told_by_its_name(monkeypatch, text, expected):
    opened = []
    monkeypatch.setattr(Path, "open", lambda path: opened.append(str(path)) or io.StringIO(text))
    assert (facts.processor.__wrapped__(), opened) == (expected, ["/proc/cpuinfo"])


def test_a_host_that_does_not_tell_has_no_name(monkeypatch):
    def missing(path):
        raise FileNotFoundError

    monkeypatch.setattr(Path, "open", missing)
    assert facts.processor.__wrapped__() == ""


def test_the_backends_are_the_modules_of_kvm_by_name(monkeypatch, tmp_path):
    monkeypatch.setattr(facts, "MODULES", tmp_path / "module")
    assert facts.backends() == []
    for name in ("kvm_intel", "loop", "kvm", "mkvm"):
        (tmp_path / "module" / name).mkdir(parents=True)
    assert facts.backends() == ["kvm", "kvm_intel"]
