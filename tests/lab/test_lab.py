"""The lab's own command, with a program in place of the emulator: hosts that hang or end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

LAB = Path(__file__).resolve().with_name("lab")

# The lab, which waits for one second of silence instead of a minute, and takes no files of this machine along.
IMPATIENT = f"""
import importlib.util, sys
from importlib.machinery import SourceFileLoader
loader = SourceFileLoader("lab", {str(LAB)!r})
lab = sys.modules["lab"] = importlib.util.module_from_spec(importlib.util.spec_from_loader("lab", loader))
loader.exec_module(lab)
lab.Amd.silence = lab.Intel.silence = 1
from tests.lab.hosts import image
image.contents = lambda job: image.Tree()
sys.exit(lab.main())
"""

# What stands for QEMU or Bochs: does on its n-th start what the n-th (or the last) word of SCRIPT says.
EMULATOR = f"""#!{sys.executable}
import os, re, socket, sys, time
with open("starts", "a+") as starts:
    starts.write(".")
    starts.flush()
    start = starts.tell()


class Qemu:
    def __init__(self):
        ports = re.findall(r"socket,id=(\\w+),fd=(\\d+)", " ".join(sys.argv))
        self.ports = {{name: socket.socket(fileno=int(fd)) for name, fd in ports}}

    def say(self, line):
        self.ports["control"].sendall(line + b"\\n")

    def console(self, text):
        self.ports["console"].sendall(text)

    def typed(self):
        return self.ports["stdin"].recv(100)

    def output(self, stream, data):
        self.ports[stream].sendall(data)


class Bochs:
    def __init__(self):
        self.rc = open(sys.argv[sys.argv.index("-f") + 1]).read()
        self.control = os.open(self.path("com2: .*dev="), os.O_RDWR | os.O_NOCTTY)
        self.line = os.fdopen(self.control, "rb", buffering=0, closefd=False)

    def path(self, before):
        return re.search(before + r"([^,\\s]+)", self.rc)[1]

    def say(self, line):
        os.write(self.control, line + b"\\n")

    def console(self, text):
        with open(self.path("com1: .*dev="), "wb") as file:
            file.write(text)

    def typed(self):
        return self.line.read(int(self.line.readline()))

    def output(self, stream, data):
        cylinder = 16 * 63 * 512
        place = cylinder if stream == "stdout" else cylinder + (1 << 30) // cylinder * cylinder
        with open(self.path("ata0-slave: .*path="), "r+b") as disk:
            disk.seek(place)
            disk.write(data)


host = Bochs() if sys.argv[0].endswith("bochs") else Qemu()
script = os.environ["SCRIPT"].split()
match script[min(start, len(script)) - 1]:
    case "silent":
        time.sleep(60)
    case "ends":
        host.console(b"Kernel panic\\n")
    case "begins":
        host.say(b"began")
        time.sleep(60)
    case "slow":
        host.say(b"began")
        for _ in range(6):
            time.sleep(0.5)
            host.say(b"alive")
        said = host.typed()
        host.output("stdout", said)
        host.output("stderr", b"oh")
        host.say(b"exit 7 %d 2" % len(said))
        time.sleep(60)
"""


@pytest.fixture(params=["amd", "intel"])
def run_lab(request, tmp_path):
    """Runs the lab beside an emulator that follows a script; gives its end and how often it was started."""
    for name in ("qemu-system-x86_64", "bochs"):
        program = tmp_path / name
        program.write_text(EMULATOR)
        program.chmod(0o755)

    def run(script):
        environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SCRIPT": script}
        done = subprocess.run(
            [sys.executable, "-c", IMPATIENT, "--host", request.param, "--timeout", "30", "--", "true"],
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
    # On a machine where nothing was emulated yet the lab says first what it fetches.
    said = [line for line in done.stderr.splitlines() if not line.startswith(("installing ", "fetching "))]
    assert (done.returncode, done.stdout, said, starts) == (7, "typed\n", ["oh"], 1)


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
