"""vmrun test: specs run as a suite on this host's KVM."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from runner.cli import main
from tests.fakes.onterminal import STYLE, on_terminal

pytestmark = pytest.mark.kvm

GUEST = '[vm]\nname = "guest"\nmemory = "1MiB"\n[boot]\nmode = "real"\ncode = """{code}"""\n{rest}\n'
PRINT = "b0 41 e6 e9 f4"  # mov al, 'A'; out 0xe9, al; hlt
DEBUG = '[[device]]\nkind = "debug-port"\n'
COIN = """
import os
from runner.devices import Device

class Coin(Device):
    thrown = 0

    def read(self, region, offset, size):
        # The first throw tells nothing. The file makes the second one fail in some runs.
        self.thrown += 1
        return os.urandom(1)[0] & 1 if self.thrown == 1 else os.urandom(1)[0] % 3 // 2
"""
# out 0x80; in al, 0x50 (twice); add al, '0'; out 0xe9, al; hlt: exits 0 to 4
THROW = "e6 80 e4 50 e4 50 04 30 e6 e9 f4"
COINS = DEBUG + '[[device]]\nkind = "python"\nclass = "coin:Coin"\nport = [0x50, 1]\n'


@pytest.fixture
def suite(tmp_path, monkeypatch, capfd):
    """Writes specs and files, and runs ``vmrun test`` in their folder: (status, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, **specs):
        for name, text in specs.items():
            if "__" in name:
                Path(name.replace("__", ".")).write_text(text)
            else:
                Path(f"{name}.toml").write_text(text)
        status = main(["test", *map(str, arguments)])
        return status, *capfd.readouterr()

    return run


def guest(code="f4", rest=""):
    return GUEST.format(code=code, rest=rest)


def test_all_pass_and_leave_nothing(suite, tmp_path):
    status, out, error = suite(
        a=guest(PRINT, DEBUG + '[expect]\nconsole = "A"\n'), b=guest(rest="[matrix]\nvm.vcpus = [1, 2]\n")
    )
    assert (status, error) == (0, "")
    assert sorted(line.split()[:2] for line in out.splitlines()[:3]) == [
        ["passed", "a"], ["passed", "b[vm.vcpus=1]"], ["passed", "b[vm.vcpus=2]"],
    ]  # fmt: skip
    assert out.splitlines()[-1].startswith("3 passed in ")
    assert {path.name for path in tmp_path.iterdir()} == {"a.toml", "b.toml", "vmrun-test"}
    assert {path.name for path in (tmp_path / "vmrun-test").iterdir()} == {".gitignore", "vmrun-test.json"}


def test_what_fails_is_explained_and_kept(suite, tmp_path):
    status, out, _ = suite(
        wrong=guest(PRINT, DEBUG + '[expect]\nconsole = "B"\n[boot.registers]\n'),
        crash=guest("0f 0b").replace("real", "protected"),
        broken=guest() + "[vmm]\n",
        skipped=guest(rest='[test]\nskip = "not today"\n'),
        status=guest("b0 10 e6 f4", '[[device]]\nkind = "debug-exit"\n[test]\nstatus = 33\n'),
    )
    assert status == 2
    assert "skipped  skipped: not today\n" in out
    assert "broken.toml:8:2: vmm: unknown key" in out
    assert "expectation failed: expect.console[0]: expected 'B' on the console" in out
    assert "it ended with triple-fault, exit status 4" in out
    assert "again: vmrun wrong.toml\n" in out
    assert "\n1 passed, 2 failed, 1 error, 1 skipped in " in out
    kept = tmp_path / "vmrun-test"
    assert {path.name for path in (kept / "wrong").iterdir()} == {"trace.arrow", "console.txt"}
    assert (kept / "wrong" / "console.txt").read_bytes() == b"A"
    assert (kept / "crash" / "trace.crash.txt").exists()
    page = (kept / "report.html").read_text()
    assert 'href="crash/trace.crash.txt"' in page
    assert "expect.console[0]: expected &#x27;B&#x27;" in page


def test_the_last_failed_are_run_again(suite):
    bad = guest(PRINT, DEBUG + '[expect]\nconsole = "B"\n')
    plain = "-j", 1, "--no-trace"
    assert suite(*plain, a=guest(), b=bad, c=bad)[0] == 1
    assert json.loads(Path("vmrun-test/vmrun-test.json").read_text()) == {"failed": ["b", "c"]}
    assert "\n1 passed in" in suite(*plain, "--last-failed", "-k", "b", b=guest())[1]
    assert "\n1 passed in" in suite(*plain, "--last-failed", c=guest())[1]
    _, out, error = suite(*plain, "--last-failed")
    assert ("\n3 passed in" in out, "none of these tests failed the last time" in error) == (True, True)


def test_a_flaky_guest_is_told_from_a_broken_one(suite):
    flaky = {"coin__py": COIN, "flaky": guest(THROW, COINS + '[expect]\nconsole = "0"\n')}
    status, out, _ = suite("--repeat", 20, **flaky)
    lines = [line.strip() for line in out.splitlines()]
    assert (status, lines[0].startswith("flaky    flaky "), lines[0].endswith(" of 20 runs failed)")) == (1, True, True)
    at = lines.index("a failed run diverges from all that passed at exit 2 of vCPU 0:")
    assert lines[at + 1 : at + 3] == [
        "failed: io read 0x50 data 0x1 (python0)", "passed: io read 0x50 data 0x0 (python0)",
    ]  # fmt: skip
    assert lines[at + 3].startswith("to see it: vmtrace diff ")


def test_a_broken_guest_fails_alike_every_time(suite):
    status, out, _ = suite("--repeat", 3, broken=guest(PRINT, DEBUG + '[expect]\nconsole = "B"\n'))
    assert (status, "(3 of 3 runs failed)" in out, "\n1 failed in" in out) == (1, True, True)
    assert "all 3 failed runs have the same exits" in out


def test_runs_that_write_to_one_file_do_not_meet(suite):
    status, _, _ = suite("--no-trace", "--repeat", 6, a=guest(PRINT, DEBUG.rstrip() + '\noutput = "log"\n'))
    assert (status, Path("log").read_bytes()) == (0, b"A")


def test_the_timeout_of_specs_that_have_none(suite):
    status, out, _ = suite(
        "--no-trace", "--timeout", "200ms", a=guest("eb fe"), b=guest("eb fe", '[expect]\nexit = "timeout"\n')
    )
    assert (status, "a.toml" in out, "it ended with timeout, exit status 5" in out) == (1, True, True)
    assert "1 passed, 1 failed in " in out


def test_junit(suite, tmp_path):
    bad = guest("b0 1b e6 e9 f4", DEBUG + '[expect]\nconsole = "B"\n')
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "x.toml").write_text(bad)
    suite("--no-trace", "--junit", "out.xml", a=guest(), b=guest(rest='[test]\nskip = "s"\n'))
    (one,) = ET.parse("out.xml").getroot()
    assert [one.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["3", "1", "0", "1"]
    assert {(case.get("classname"), case.get("name"), *(child.tag for child in case)) for case in one} == {
        ("vmrun", "a"), ("vmrun", "b", "skipped"), ("sub", "x", "failure", "system-out", "system-err"),
    }  # fmt: skip
    assert one.find(".//system-out").text == "\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none"], "none: there is no such file or folder"),
        (["-k", "zzz"], "there is no spec to run (1 do not match -k)"),
        (["-k", "a and"], "a word is missing at the end"),
        (["-o", "."], "it has files, and vmrun test did not make it"),
    ],
)
def test_a_wrong_call(suite, arguments, said):
    status, out, error = suite(*arguments, a=guest())
    assert (status, out, said in error) == (2, "", True)


def test_no_spec_at_all_is_wrong(suite):
    assert suite()[::2] == (2, "vmrun: there is no spec to run\n")


def test_progress_on_a_terminal_is_a_bar_below_the_lines(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in {"a": guest(), "b": guest(rest='[test]\nskip = "[red]why[/red]"\n')}.items():
        Path(f"{name}.toml").write_text(text)
    written, status = on_terminal(main, ["test", "--no-trace", "--repeat", "2"], {"TERM": "xterm"}, 100)
    text = STYLE.sub("", written.decode())
    assert (status, "skipped  b: [red]why[/red]" in text, "2/2" in text) == (0, True, True)
    assert re.search(r"passed   a 0\.\d\d s", text)
    assert text.splitlines()[-1].startswith("1 passed, 1 skipped in ")


def test_a_reader_that_goes_ends_it_without_a_traceback(process, tmp_path):
    (tmp_path / "a.toml").write_text(guest())
    running = process("--no-trace")
    running.stdout.close()
    assert running.wait(60) == 141


@pytest.mark.parametrize("arguments", [["-j", "0"], ["--repeat", "x"], ["--timeout", "soon"]])
def test_a_wrong_option(suite, capfd, arguments):
    with pytest.raises(SystemExit) as ended:
        suite(*arguments)
    assert (ended.value.code, arguments[0] in capfd.readouterr().err) == (2, True)


def test_a_worker_that_is_killed_is_a_failure_of_its_run(suite):
    device = "import os\nfrom runner.devices import Device\n\nclass Killer(Device):\n    def write(self, *_):\n"
    device += "        os.kill(os.getpid(), 9)\n"
    killer = guest("e6 80 f4", '[[device]]\nkind = "python"\nclass = "killer:Killer"\nport = [0x80, 1]\n')
    status, out, _ = suite("-j", 1, "--no-trace", killer__py=device, a=killer, b=guest(), c=guest())
    assert (status, "the run was lost: its worker process was killed by SIGKILL" in out) == (1, True)
    assert "2 passed, 1 error in " in out


@pytest.fixture
def process(tmp_path):
    """Starts ``vmrun test`` in a process group of its own, as a shell does."""
    started = []

    def start(*arguments):
        command = [sys.executable, "-m", "runner.cli", "test", *arguments]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        started.append(subprocess.Popen(command, cwd=tmp_path, start_new_session=True, env=environment, **pipes))
        return started[-1]

    yield start
    for one in started:
        with one:
            one.kill()


def begun(tmp_path):
    """Wait until a guest runs."""
    deadline = time.monotonic() + 30
    while not [*tmp_path.glob("vmrun-test/*/trace.arrows")] and time.monotonic() < deadline:
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("send", "number"), [(os.killpg, signal.SIGINT), (os.kill, signal.SIGTERM)], ids=["ctrl-c", "terminated"]
)
def test_a_signal_ends_all_runs_and_leaves_no_process(process, tmp_path, send, number):
    for name in "ab":
        (tmp_path / f"{name}.toml").write_text(guest("e6 80 eb fc"))
    (tmp_path / "c.toml").write_text(guest())
    running = process("-j", "2")
    begun(tmp_path)
    workers = children(running.pid)
    send(running.pid, number)
    out, _ = running.communicate(timeout=30)
    assert (running.returncode, "3 not finished" in out or "2 not finished" in out) == (130, True)
    assert workers
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]
    assert [*tmp_path.glob("vmrun-test/*/*.ring")] == []


def children(pid):
    return [int(word) for path in Path(f"/proc/{pid}/task").glob("*/children") for word in path.read_text().split()]
