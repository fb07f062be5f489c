"""The markers and the collection rules of conftest.py, seen from outside: pytest runs on a project of one file."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NEEDS_KVM = "import pytest\n\n@pytest.mark.kvm\ndef test_machine():\n    pass\n"

SOAK = "\n@pytest.mark.soak\ndef test_long():\n    assert False\n"
EXAMPLES = """
def test_examples():
    from hypothesis import settings
    assert settings().max_examples == 100_000
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs pytest over a project with this conftest.py and one test file; no such /dev/kvm exists there."""

    def run(test: str, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
        folder = tmp_path_factory.mktemp("project")
        tests = folder / "tests"
        tests.mkdir()
        (folder / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
        conftest = (ROOT / "tests/conftest.py").read_text()
        (tests / "conftest.py").write_text(conftest.replace('"/dev/kvm"', '"/nonexistent/kvm"'))
        (tests / "test_one.py").write_text(test)
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options],
            cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    return run


@pytest.fixture(scope="module")
def done(project):
    """A run without soak tests and without KVM, with the soak's number of examples."""
    return project(NEEDS_KVM + SOAK + EXAMPLES, "-m", "not soak", VMRUN_REQUIRE_KVM="0", VMRUN_SOAK="1")


@pytest.mark.long
def test_kvm_tests_are_skipped_with_the_reason(done):
    assert "/nonexistent/kvm cannot be opened: No such file or directory" in done.stdout
    assert (done.returncode, "1 skipped" in done.stdout) == (0, True)


@pytest.mark.long
def test_soak_tests_are_deselected(done):
    assert (done.returncode, "1 deselected" in done.stdout) == (0, True)


@pytest.mark.long
def test_soak_raises_the_number_of_examples(done):
    assert (done.returncode, "1 passed" in done.stdout) == (0, True)


@pytest.mark.long
def test_kvm_can_be_required(project):
    done = project(NEEDS_KVM, VMRUN_REQUIRE_KVM="1")
    assert (done.returncode, "VMRUN_REQUIRE_KVM=1 demands it" in done.stdout) == (1, True)


@pytest.mark.long
def test_a_file_without_tests_fails_the_run(project):
    done = project("def not_a_test():\n    pass\n")
    assert done.returncode not in (0, 5)
    assert "no test was collected from this file" in done.stdout


@pytest.mark.long
def test_a_selection_that_collects_nothing_fails(project):
    assert project("def test_it():\n    pass\n", "-m", "soak").returncode == 5


@pytest.mark.parametrize("package", ["vmspec", "runner", "tracer"])
def test_each_package_has_tests(package):
    assert list((ROOT / "tests" / package).rglob("test_*.py"))
