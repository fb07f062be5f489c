"""The lab's own command, with a program in QEMU's place: what it does when the emulated host stands still or ends."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

LAB = Path(__file__).resolve().with_name("lab")

# The lab, which waits for one second of silence instead of a minute.
IMPATIENT = f"""
import importlib.util, sys
from importlib.machinery import SourceFileLoader
loader = SourceFileLoader("lab", {str(LAB)!r})
lab = sys.modules["lab"] = importlib.util.module_from_spec(importlib.util.spec_from_loader("lab", loader))
loader.exec_module(lab)
lab.SILENCE = 1
sys.exit(lab.main())
"""

# What stands for QEMU: does on its n-th start what the n-th (or the last) word of SCRIPT says.
QEMU = f"""#!{sys.executable}
import os, re, socket, sys, time
with open("starts", "a+") as starts:
    starts.write(".")
    starts.flush()
    start = starts.tell()
script = os.environ["SCRIPT"].split()
ports = re.findall(r"socket,id=(\\w+),fd=(\\d+)", " ".join(sys.argv))
ports = {{name: socket.socket(fileno=int(fd)) for name, fd in ports}}
control = ports["control"]
match script[min(start, len(script)) - 1]:
    case "silent":
        time.sleep(60)
    case "ends":
        ports["console"].sendall(b"Kernel panic\\n")
    case "begins":
        control.sendall(b"began\\n")
        time.sleep(60)
    case "slow":
        control.sendall(b"began\\n")
        for _ in range(6):
            time.sleep(0.5)
            control.sendall(b"alive\\n")
        said = ports["stdin"].recv(100)
        ports["stdout"].sendall(said)
        control.sendall(b"exit 7 %d 0\\n" % len(said))
        time.sleep(60)
"""


@pytest.fixture
def run_lab(tmp_path):
    """Runs the lab beside a QEMU that follows a script; gives its end and how often it started QEMU."""
    program = tmp_path / "qemu-system-x86_64"
    program.write_text(QEMU)
    program.chmod(0o755)

    def run(script):
        environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SCRIPT": script}
        done = subprocess.run(
            [sys.executable, "-c", IMPATIENT, "--timeout", "30", "--", "true"],
            cwd=tmp_path,
            env=environment,
            input="typed\n",
            capture_output=True,
            text=True,
            check=False,
        )
        return done, len((tmp_path / "starts").read_text())

    return run


def test_signs_of_life_keep_it_waiting(run_lab):
    done, starts = run_lab("slow")
    assert (done.returncode, done.stdout, done.stderr, starts) == (7, "typed\n", "", 1)


def test_a_host_that_never_began_is_started_again(run_lab):
    done, starts = run_lab("silent silent slow")
    assert (done.returncode, done.stdout, starts) == (7, "typed\n", 3)
    assert done.stderr.count("stood still before it began, and is started again") == 2


def test_it_gives_up(run_lab):
    done, starts = run_lab("silent")
    assert (done.returncode, starts) == (125, 3)
    assert "lab: the emulated host stands still; the end of its console:" in done.stderr


def test_a_command_that_began_is_not_begun_again(run_lab):
    done, starts = run_lab("begins slow")
    assert (done.returncode, starts) == (125, 1)
    assert "the emulated host stands still" in done.stderr


def test_a_host_that_ended_is_explained_by_its_console(run_lab):
    done, starts = run_lab("ends")
    assert (done.returncode, starts) == (125, 1)
    assert "the emulated host ended before the command did; the end of its console:\nKernel panic\n" in done.stderr
