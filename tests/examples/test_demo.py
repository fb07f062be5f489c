"""The demo's steps, with a tiny guest in place of Linux; test_linux.py boots Linux."""

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest

import tracer

ROOT = Path(__file__).parents[2]
LINUX = ROOT / "examples" / "linux"


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """The script, with the example hello as what it boots. A run in the lab ends with the next of ``demo.ends``."""
    monkeypatch.syspath_prepend(str(LINUX))
    monkeypatch.delitem(sys.modules, "prepare", raising=False)
    spec = importlib.util.spec_from_file_location("demo", LINUX / "demo.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    shutil.copy(ROOT / "examples" / "hello" / "hello.toml", tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    module.ROOT, module.TRACE = tmp_path, tmp_path / "hello.arrow"
    module.prepare = lambda: tmp_path / "hello.toml"
    module.ends = []
    module.in_lab = lambda spec: module.ends.pop(0)
    yield module
    sys.modules.pop("prepare")


@pytest.mark.kvm
def test_it_boots_on_the_hosts_kvm_and_shows_the_console_and_the_summary(demo, capfd):
    assert demo.main() == 0
    said = capfd.readouterr().out
    begun, _, summary = said.partition("== vmtrace summary")
    assert ("vmrun hello.toml, on this host's KVM" in begun, "\n4\n" in begun) == (True, True)
    assert "Exits by device" in summary
    assert tracer.load(demo.TRACE).complete


@pytest.mark.parametrize(("ends", "status"), [([4], 4), ([5, 4], 4), ([125, 2], 2), ([125, 125], 125)])
@pytest.mark.parametrize("host", [3, 4, 5])
def test_a_host_that_cannot_boot_linux_leaves_it_to_the_lab(demo, capfd, host, ends, status):
    """It is tried once more where the emulated host may have stood still."""
    demo.on_host = lambda spec: host
    demo.ends += ends
    assert (demo.main(), demo.ends) == (status, [])
    said = capfd.readouterr().out
    assert ("== vmtrace summary" in said, said.count("trying once more")) == (False, len(ends) - 1)


def test_another_end_on_the_host_is_the_demos(demo, monkeypatch):
    monkeypatch.setattr(demo.os, "access", lambda path, mode: True)
    demo.on_host = lambda spec: 1
    assert demo.main() == 1
