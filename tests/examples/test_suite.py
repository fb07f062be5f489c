"""The examples as a test suite, as they are in a fresh clone."""

import shutil
import subprocess
from pathlib import Path

import pytest

from runner.cli import main

ROOT = Path(__file__).parents[2]


@pytest.mark.kvm
def test_the_examples_pass_in_a_fresh_clone_and_those_that_cannot_run_say_why(tmp_path, monkeypatch, capfd):
    files = subprocess.run(["git", "ls-files", "examples"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in files.splitlines():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert main(["test", "examples", "--no-trace"]) == 0
    lines = capfd.readouterr().out.splitlines()
    passed = sorted(line.split()[1] for line in lines if line.startswith("passed "))
    skipped = dict(line.removeprefix("skipped  ").split(": ", 1) for line in lines if line.startswith("skipped "))
    assert passed == [
        "examples/debug-exit/debug-exit", "examples/hello/hello", "examples/mmio/mmio", "examples/modes/long",
        "examples/modes/protected", "examples/own-device/own-device", "examples/virtio-python/virtio-python",
    ]  # fmt: skip
    assert sorted(skipped) == [
        "examples/disk/disk", "examples/linux/linux", "examples/modes/modes", "examples/network/recorded",
        "examples/network/tap", "examples/network/user", "examples/repeat/disk", "examples/repeat/exact",
        "examples/repeat/repeat", "examples/share/share", "examples/vsock/vsock",
    ]  # fmt: skip
    assert skipped["examples/modes/modes"] == "examples/modes/modes.bin is missing"
    assert "examples/linux/vmlinuz is missing" in skipped["examples/linux/linux"]
