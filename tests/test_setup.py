"""Without a C extension: setup.py finds out why it cannot be built, and vmrun reports the reason when it starts."""

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SETUP = runpy.run_path(str(ROOT / "setup.py"), run_name="setup")


def compiler(directory: Path, lacks: str) -> Path:
    """A compiler that finds every header but one."""
    path = directory / "cc"
    path.write_text(
        f'#!/bin/sh\nif grep -q "<{lacks}>"; then echo "<stdin>:1:10: fatal error: {lacks}: gone" >&2; exit 1; fi\n'
    )
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("header", "package"), [("stdio.h", "libc6-dev"), ("linux/kvm.h", "linux-libc-dev"), ("Python.h", "python3-dev")]
)
def test_a_missing_header_is_named_with_its_package(tmp_path, monkeypatch, header, package):
    monkeypatch.setenv("CC", str(compiler(tmp_path, header)))
    reason = SETUP["unbuilt"]()
    assert reason.startswith(f"{header} was not found (Debian: apt-get install {package}); the compiler said: ")
    assert reason.endswith(f"fatal error: {header}: gone")


def test_a_missing_compiler_is_named(monkeypatch):
    monkeypatch.setenv("CC", "/nowhere/cc -m64")
    assert SETUP["unbuilt"]() == (
        "the C compiler /nowhere/cc could not be run: No such file or directory (Debian: apt-get install gcc)"
    )


def test_nothing_is_missing_here():
    assert SETUP["unbuilt"]() is None


@pytest.fixture
def unbuilt(tmp_path):
    """The packages without the extension."""
    for package in ("vmspec", "runner", "tracer"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    return tmp_path


def run(directory: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(directory), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, *command], cwd=directory, env=environment, check=False, text=True, capture_output=True
    )


def test_vmrun_says_why_it_cannot_run_machines(unbuilt):
    (unbuilt / "runner" / "native" / "unbuilt.txt").write_text("linux/kvm.h was not found\n")
    done = run(unbuilt, "-m", "runner.cli", str(ROOT / "examples" / "hello" / "hello.toml"))
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == (
        "vmrun: this installation of vmrun cannot run machines: when it was installed, the C extension could not be "
        "built: linux/kvm.h was not found. Fix that and reinstall vmrun: pip install --force-reinstall --no-deps, "
        "from its sources. vmspec and vmtrace work without it.\n"
    )


def test_an_extension_that_is_gone_is_named(unbuilt):
    done = run(unbuilt, "-m", "runner.cli", str(ROOT / "examples" / "hello" / "hello.toml"))
    assert done.returncode == 3
    assert "its C extension cannot be loaded: No module named 'runner.native._native'" in done.stderr


def test_python_gets_the_reason_too(unbuilt):
    done = run(unbuilt, "-c", "import runner; runner.run")
    assert done.stderr.splitlines()[-1].startswith("ImportError: this installation of vmrun cannot run machines: ")
