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
PROGRAM, MISTAKEN = "campaign.py", ("misuse.py", "nativemisuse.py")
DOCUMENTED = {
    f"{module.replace('.', '_')}_{number}.py": code
    for module, examples in EXAMPLES.items()
    for number, code in enumerate(examples)
}


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
def reported(installed, tmp_path_factory):
    """What mypy prints of each file, by its name. It checks all at once: most of its time is that of the packages."""
    folder = tmp_path_factory.mktemp("programs")
    programs = {name: (HERE / name).read_text() for name in (PROGRAM, *MISTAKEN)} | DOCUMENTED
    for name, code in programs.items():
        (folder / name).write_text(code)
    options = ["--strict", "--config-file=", f"--cache-dir={folder / 'cache'}", f"--python-executable={installed}"]
    command = [sys.executable, "-m", "mypy", *options, "--no-error-summary", "--hide-error-context", *programs]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    found = dict.fromkeys(programs, "")
    for line in done.stdout.splitlines(keepends=True):
        found[line.partition(":")[0]] += line
    assert (done.returncode, done.stderr) == (1, "")
    return found


@pytest.mark.long
def test_a_program_that_uses_the_public_names_passes_strict_checks(reported):
    assert reported[PROGRAM] == ""


@pytest.mark.long
def test_the_examples_of_the_document_pass_strict_checks(reported):
    assert len(DOCUMENTED) == len(EXAMPLES)
    assert "".join(reported[name] for name in DOCUMENTED) == ""


@pytest.mark.long
@pytest.mark.parametrize("name", MISTAKEN)
def test_mistakes_are_reported(reported, name):
    marked = {
        (number, code)
        for number, line in enumerate((HERE / name).read_text().splitlines(), 1)
        if (found := MARKED.search(line))
        for code in found[1].split(", ")
    }
    assert {(int(line), code) for _, line, code in REPORTED.findall(reported[name])} == marked, reported[name]


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
