"""The public names as mypy sees them from a user's program: the packages are installed, not beside it."""

import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.typing.test_api import EXAMPLES, ROOT

HERE = Path(__file__).parent
# What mypy prints of an error: the file, the line, the code.
REPORTED = re.compile(r"^([\w./]+):(\d+): error: .*\[([\w-]+)\]$", re.MULTILINE)
MARKED = re.compile(r"# error: (.+)$")


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """A virtual environment's Python that has the packages as a wheel has them, without the extension."""
    directory = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", directory / "venv"], check=True)
    packages = (
        directory / "venv" / "lib" / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix).relative_to("lib")
    )
    build = ["-q", "build", "--build-base", directory / "build", "build_py", "--build-lib", packages]
    subprocess.run([sys.executable, "setup.py", *build], cwd=ROOT, check=True, capture_output=True)
    # Dependencies are where they are for the tests; the editable project there is not seen from here.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return directory / "venv" / "bin" / "python"


@pytest.fixture(scope="session")
def checked(installed, tmp_path_factory):
    """Checks files in a folder of their own, and returns mypy's exit status and all that it printed."""
    cache = tmp_path_factory.mktemp("cache")

    def check(folder, *names):
        options = ["--strict", "--config-file=", f"--cache-dir={cache}", f"--python-executable={installed}"]
        command = [sys.executable, "-m", "mypy", *options, "--no-error-summary", "--hide-error-context", *names]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    return check


@pytest.mark.long
def test_a_program_that_uses_the_public_names_passes_strict_checks(checked, tmp_path):
    (tmp_path / "campaign.py").write_text((HERE / "campaign.py").read_text())
    assert checked(tmp_path, "campaign.py") == (0, "")


@pytest.mark.long
def test_the_examples_of_the_document_pass_strict_checks(checked, tmp_path):
    for module, examples in EXAMPLES.items():
        for number, code in enumerate(examples):
            (tmp_path / f"{module.replace('.', '_')}_{number}.py").write_text(code)
    names = sorted(path.name for path in tmp_path.glob("*.py"))
    assert (len(names), checked(tmp_path, *names)) == (len(EXAMPLES), (0, ""))


@pytest.mark.long
@pytest.mark.parametrize("name", ["misuse.py", "nativemisuse.py"])
def test_mistakes_are_reported(checked, tmp_path, name):
    text = (HERE / name).read_text()
    (tmp_path / name).write_text(text)
    marked = {
        (number, code)
        for number, line in enumerate(text.splitlines(), 1)
        if (found := MARKED.search(line))
        for code in found[1].split(", ")
    }
    status, printed = checked(tmp_path, name)
    assert (status, {(int(line), code) for _, line, code in REPORTED.findall(printed)}) == (1, marked), printed


@pytest.mark.kvm
def test_the_program_runs(tmp_path):
    spec = tmp_path / "hello.toml"
    spec.write_text((ROOT / "examples" / "hello" / "hello.toml").read_text())
    done = subprocess.run([sys.executable, HERE / "campaign.py", spec], capture_output=True, text=True, check=False)
    recorded = "{'io': 2, 'hlt': 1}, ('serial0',), None"
    assert (done.returncode, done.stderr, done.stdout.splitlines()) == (
        0,
        "",
        [
            f"1 MiB: ended, status 0, 4, {recorded}",
            f"2 MiB: ended, status 0, 4, {recorded}",
            "4 MiB: ended, status 0, 4",
            "COM1 LSR THRE|TEMT 0xd0000000 IA32_TIME_STAMP_COUNTER",
        ],
    )
