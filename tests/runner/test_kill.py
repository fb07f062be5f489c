"""SIGKILL at a random moment, of vmrun, of its recorder, of both: every exit that was published can be had, and nothing
is left behind."""

import mmap
import os
import random
import re
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tracer
from tests.fakes.processes import LATEST, eventually, gone, recorder_of
from tracer.cli import main as vmtrace
from vmspec.trace.record import HEADER, RING

pytestmark = pytest.mark.kvm

ROOT = Path(__file__).parents[2]
# Says that it runs; then out 0x81, bl; inc bx; for ever.
COUNTING = "b0 41 e6 e9 88 d8 e6 81 43 eb f9"
DEBUG = {"kind": "debug-port"}
KILLS = [2, pytest.param(67, marks=pytest.mark.soak)]


class Ring:
    """What the vCPU has published, seen in the memory that it is published in."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self.memory = mmap.mmap(file.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_READ)

    def head(self) -> int:
        names = [field.name for field in HEADER]
        first = struct.unpack_from("<Q", self.memory, 8 * names.index("first_ring"))[0]
        return struct.unpack_from("<Q", self.memory, first + 8 * [field.name for field in RING].index("head"))[0]


@pytest.fixture
def running(write_spec, tmp_path):
    """Starts a vmrun whose guest counts; (process, its ring)."""
    spec = write_spec(COUNTING, devices=[DEBUG], trace={"ring": 1024})
    started = []

    def start() -> tuple[subprocess.Popen[bytes], Ring]:
        command = [sys.executable, "-m", "runner.cli", str(spec)]
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        started.append(process)
        assert os.read(process.stdout.fileno(), 1) == b"A"
        return process, Ring(tmp_path / "guest.ring")

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def check(path: Path, head: int) -> tracer.Trace:
    """Every record is there, in order, and is what the guest did."""
    trace = tracer.load(path)
    rows = trace.table.select(["seq", "data"]).to_pydict()
    assert rows["seq"] == list(range(head))
    assert rows["data"][1:] == [number & 0xFF for number in range(head - 1)]
    return trace


def files(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


@pytest.mark.parametrize("kills", KILLS)
def test_a_killed_vmrun_leaves_a_closed_trace(running, tmp_path, kills):
    for _ in range(kills):
        process, ring = running()
        recorder = recorder_of(process)
        time.sleep(random.random() * 0.6)
        process.kill()
        process.wait()
        eventually(lambda: files(tmp_path) == {"guest.toml", "guest.arrow"}, f"{files(tmp_path)}")
        eventually(lambda recorder=recorder: gone(recorder), "the recorder is still there")
        trace = check(tmp_path / "guest.arrow", ring.head())
        assert (trace.complete, trace.summary["result"]) == (True, {"kind": "killed", "status": None})
        (tmp_path / "guest.arrow").unlink()


FIRST = """
import os, signal, sys
from runner.machine.machine import Machine
from runner.cli import main

def killed(machine, timeout):
    begin(machine, timeout)
    while not machine.counts()[0][2]:  # KVM_EXIT_IO
        pass
    os.kill(os.getpid(), signal.SIGKILL)

begin, Machine._begin = Machine._begin, killed
main(sys.argv[1:])
"""


def test_a_run_killed_at_its_first_exits_leaves_a_closed_trace(write_spec, tmp_path):
    """The main thread, which has just opened the gate for the guest, kills the process."""
    spec = write_spec(COUNTING, devices=[DEBUG], trace={"ring": 1024})
    done = subprocess.run([sys.executable, "-c", FIRST, spec], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL
    eventually(lambda: files(tmp_path) == {"guest.toml", "guest.arrow"}, f"{files(tmp_path)}")
    trace = tracer.load(tmp_path / "guest.arrow")
    assert (trace.complete, trace.summary["result"]) == (True, {"kind": "killed", "status": None})
    check(tmp_path / "guest.arrow", trace.table.num_rows)


def test_what_a_killed_run_left_says_so(running, tmp_path, capsys):
    process, _ = running()
    recorder_of(process)
    process.kill()
    eventually((tmp_path / "guest.arrow").exists, "no trace")
    assert vmtrace(["info", str(tmp_path / "guest.arrow")]) == 0
    text = capsys.readouterr().out
    assert re.search(r"^complete +yes: vmrun was killed; its recorder closed the trace", text, re.MULTILINE)
    assert re.search(r"^end +killed$", text, re.MULTILINE)
    eventually(lambda: not (tmp_path / "guest.ring").exists(), "the ring file is still there")
    assert vmtrace(["recover", str(tmp_path / "guest.arrow")]) == 2
    assert "guest.arrow can be read as it is" in capsys.readouterr().err


@pytest.mark.parametrize("kills", KILLS)
def test_a_killed_recorder_ends_the_run(running, tmp_path, kills):
    for number in range(kills):
        process, ring = running()
        recorder = recorder_of(process)
        time.sleep(random.random() * 0.6)
        os.kill(recorder, signal.SIGKILL)
        error = process.communicate(timeout=LATEST)[1].decode()
        assert (process.returncode, "the recorder was killed by SIGKILL" in error) == (6, True), error
        assert gone(recorder)
        recovered = tmp_path / f"{number}.arrow"
        tracer.recover(tmp_path / "guest.arrow", recovered)
        check(recovered, ring.head())


@pytest.mark.parametrize("kills", KILLS)
def test_both_killed_can_be_recovered(running, tmp_path, kills):
    for number in range(kills):
        process, ring = running()
        recorder = recorder_of(process)
        time.sleep(random.random() * 0.6)
        process.send_signal(signal.SIGSTOP)  # so that neither hears of the other's end
        os.kill(recorder, signal.SIGKILL)
        process.kill()
        process.wait()
        recovered = tmp_path / f"{number}.arrow"
        result = tracer.recover(tmp_path / "guest.arrow", recovered)
        assert result.problems == ()
        assert not check(recovered, ring.head()).complete


def test_a_recorder_that_is_killed_between_two_runs_is_replaced(write_spec):
    script = (
        "import os, signal, sys\nfrom runner import run\nfrom runner.recording import process\n"
        "run(sys.argv[1])\nfirst = process._process.pid\nos.kill(first, signal.SIGKILL)\n"
        "os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)\n"
        "print(run(sys.argv[1]).kind, process._process.pid != first, os.path.exists(f'/proc/{first}'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, write_spec("f4")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("halt True False\n", "")


# A recorder that kills itself, or its VMM too, at one moment of the end of a short run.
DYING = """
import os, signal, sys
from runner.recording import recorder
from tracer.record import writer

moment, whom = os.environ["MOMENT"], os.environ["WHOM"]
write_file, finish = writer.write_file, writer.TableWriter.finish_at_once

def die():
    if whom == "both":
        os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)

def writing(target, read, schema, summary):
    if moment == "before":
        die()
    def batches():
        if moment == "within":
            die()
        return read()
    return write_file(target, batches, schema, summary)

def finished(self, *arguments):
    path = finish(self, *arguments)
    die()

writer.write_file = writing
if moment == "after":
    writer.TableWriter.finish_at_once = finished
recorder.main()
"""
WITH_DYING = """
import sys
from runner.cli import main
from runner.recording import process
process.MODULE = "dying"
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("whom", ["recorder", "both"])
@pytest.mark.parametrize("moment", ["before", "within", "after"])
def test_a_short_run_whose_recorder_is_killed_as_it_writes_the_file_loses_nothing(write_spec, tmp_path, moment, whom):
    program, runs, out = tmp_path / "program", tmp_path / "runs", tmp_path / "out.arrow"
    program.mkdir()
    runs.mkdir()
    (program / "dying.py").write_text(DYING)
    spec = write_spec("b9 20 00 e6 80 e2 fc f4", trace={"path": str(runs / "guest.arrow")})  # 32 times out 0x80
    done = subprocess.run(
        [sys.executable, "-c", WITH_DYING, spec],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(program), str(ROOT)]), "MOMENT": moment, "WHOM": whom},
        capture_output=True,
        text=True,
        check=False,
        timeout=LATEST,
    )
    if whom == "recorder":
        assert (done.returncode, "the recorder was killed by SIGKILL" in done.stderr) == (6, True), done.stderr
        assert f"what was recorded is in {runs}/guest.ring: vmtrace recover {runs}/guest.arrow" in done.stderr
    else:
        assert done.returncode == -signal.SIGKILL
    assert files(runs) == {"guest.ring", *(["guest.arrow"] if moment == "after" else [])}
    if moment == "after":
        trace = tracer.load(runs / "guest.arrow")
        assert (trace.complete, trace.table.num_rows) == (True, 33)
        (runs / "guest.arrow").unlink()
    tracer.recover(runs / "guest.arrow", out)
    recovered = tracer.load(out)
    assert (recovered.table.num_rows, "vmrun.spec" in recovered.metadata) == (33, True)
