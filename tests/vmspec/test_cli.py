import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import vmspec
from vmspec.cli import main

GOOD = '[vm]\nname = "x"\n[boot]\ncode = "f4"\nmode = "real"\n'
BAD = '[vm]\nnme = "x"\n[boot]\ncode = "f4"\nmode = "real"\n'


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "good.toml"
    path.write_text(GOOD)
    return str(path)


@pytest.fixture
def bad(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text(BAD)
    return str(path)


def test_check_says_ok(good, capsys):
    assert (main(["check", good]), capsys.readouterr().out) == (0, f"{good}: ok\n")


def test_check_tells_the_problems_of_every_spec(good, bad, capsys):
    status = main(["check", bad, good, bad])
    output = capsys.readouterr()
    assert (status, output.out) == (2, f"{good}: ok\n")
    assert output.err.count(f"{bad}:2:1: vm.nme: unknown key") == 2


def test_check_looks_at_the_images(good, capsys):
    status = main(["check", good, "--set", "boot={kernel='no-such-file'}"])
    assert (status, capsys.readouterr().err[:6]) == (2, "--set ")


def test_show_prints_a_spec_that_reads_back(good, capsys):
    assert main(["show", good, "--set", "vm.memory=1GiB"]) == 0
    assert vmspec.loads(capsys.readouterr().out, "/") == vmspec.load(good, ["vm.memory=1GiB"])


def test_plan_prints_the_plan(good, capsys):
    assert main(["plan", good]) == 0
    assert capsys.readouterr().out.startswith("Machine\n  name           x\n")


def test_plan_prints_json(good, capsys):
    assert main(["plan", "--json", good]) == 0
    assert json.loads(capsys.readouterr().out)["entry"]["mode"] == "real"


def test_schema_prints_the_schema(capsys):
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == vmspec.json_schema()


@pytest.mark.parametrize("command", ["show", "plan", "check"])
def test_a_wrong_spec_is_status_2(command, bad, capsys):
    status = main([command, bad])
    output = capsys.readouterr()
    assert (status, output.out) == (2, "")
    assert "vm.name: is missing" in output.err


def test_a_wrong_call_is_status_2(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["shew"])
    assert caught.value.code == 2
    assert "invalid choice: 'shew'" in capsys.readouterr().err


def test_a_reader_that_leaves_is_no_traceback(good):
    program = "import sys; from vmspec.cli import main; sys.stdin.read(); sys.exit(main(sys.argv[1:]))"
    with subprocess.Popen(
        [sys.executable, "-c", program, "plan", good],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        process.stdout.close()
        process.stdin.close()
        assert (process.wait(), process.stderr.read()) == (141, b"")


def test_a_full_disk_is_said_and_is_status_2(good):
    with Path("/dev/full").open("wb") as full:
        call = [sys.executable, "-m", "vmspec.cli", "show", good]
        done = subprocess.run(call, stdout=full, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (2, b"vmspec: cannot write: No space left on device\n")


@pytest.mark.parametrize("streams", [(1,), (2,), (1, 2)])
def test_closed_standard_streams(good, streams):
    program = f"import os; [os.close(stream) for stream in {streams}]; os.execv({sys.executable!r}, os.sys.argv[1:])"
    call = [sys.executable, "-m", "vmspec.cli", "show", good]
    done = subprocess.run([sys.executable, "-c", program, *call], stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_directory_whose_name_is_no_text_is_shown(tmp_path):
    directory = tmp_path / "\udcff"
    directory.mkdir()
    (directory / "x.toml").write_text('[vm]\nname = "x"\n[boot]\nkernel = "k"\n')
    shown = subprocess.run(
        [sys.executable, "-m", "vmspec.cli", "show", directory / "x.toml"], capture_output=True, check=True
    )
    assert b"\\u0000ff/k" in shown.stdout


def test_a_former_name_is_a_line_on_standard_error(tmp_path, capsys):
    path = tmp_path / "x.toml"
    path.write_text('[vm]\nname = "x"\n[boot]\ncode = "f4"\nmode = "real"\n[trace]\nkernel = true\n')
    assert (main(["show", str(path)]), "tracepoints = true" in capsys.readouterr().out) == (0, True)
    assert main(["check", str(path)]) == 0
    assert capsys.readouterr().err == f"vmspec: {path}:7:1: trace.kernel: is now called tracepoints\n"


def test_the_help_of_a_command_says_what_it_does(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    commands = re.findall(r"^    ([a-z]+) +(.+)$", capsys.readouterr().out, re.MULTILINE)
    assert len(commands) == 12
    for name, what in commands:
        with pytest.raises(SystemExit):
            main([name, "--help"])
        assert f"\n\n{what}\n\n" in capsys.readouterr().out
