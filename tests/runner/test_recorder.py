"""The recorder as a process: one for all runs, out of everybody's way, gone with its VMM; and what is done to its files
while it works."""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

import tracer
from tests.fakes.processes import children, eventually, gone, recorder_of

pytestmark = pytest.mark.kvm

ROOT = Path(__file__).parents[2]
HLT = "f4"
FLOOD = "e6 80 eb fc"
RUNNING = f"b0 41 e6 e9 {FLOOD}"  # says that it runs
DEBUG = {"kind": "debug-port"}


def python(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


@pytest.fixture
def start():
    started = []

    def run(spec: Path, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "runner.cli", str(spec), *arguments]
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen(command, cwd=ROOT, **streams))
        assert os.read(started[-1].stdout.fileno(), 1) == b"A"
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


# One for all runs

MANY = """
import os, sys
from runner import run
from runner.recording import process
from tests.fakes.processes import children, eventually
def held(process):
    return len(os.listdir(f"/proc/{process}/fd"))
pids, seen = set(), []
for number in range(int(sys.argv[2])):
    assert run(sys.argv[1]).trace
    pids.add(process._process.pid)
    seen.append(held("self"))
[recorder] = pids
eventually(lambda: held(recorder) == 4, "the recorder keeps descriptors")
print(pids == set(children(os.getpid())), len(set(seen[1:])), "pyarrow" in sys.modules, recorder)
"""


@pytest.mark.parametrize("runs", [10, pytest.param(500, marks=pytest.mark.soak)])
def test_runs_one_after_another_have_one_recorder(write_spec, runs):
    done = python(MANY, write_spec(HLT, trace={"tracepoints": True}), runs)
    *found, recorder = done.stdout.split()
    assert (found, done.stderr) == (["True", "1", "False"], ""), done.stderr
    assert not Path(f"/proc/{recorder}").exists()  # it was waited for


AT_ONCE = """
import os, sys
from concurrent.futures import ThreadPoolExecutor
from runner import run
from tests.fakes.processes import children
with ThreadPoolExecutor(8) as pool:
    results = list(pool.map(lambda n: run(sys.argv[1], overrides=f"trace.path={sys.argv[2]}/{n}.arrow"), range(24)))
print(len(children(os.getpid())), {result.kind for result in results}, len({result.trace for result in results}))
"""


def test_runs_at_once_have_one_recorder(write_spec, tmp_path):
    done = python(AT_ONCE, write_spec(HLT), tmp_path)
    assert (done.stdout, done.stderr) == ("1 {'halt'} 24\n", "")
    for number in range(24):
        trace = tracer.load(tmp_path / f"{number}.arrow")
        assert (trace.complete, trace.table.num_rows) == (True, 1)


def test_without_a_trace_there_is_none(write_spec):
    script = (
        "import os, sys\nfrom runner import run\nfrom tests.fakes.processes import children\n"
        "print(run(sys.argv[1], record=False).kind, children(os.getpid()))"
    )
    assert python(script, write_spec(HLT)).stdout == "halt []\n"


# A program of the user's own that forks, and whose fork keeps all that was open.
FORKING = """
import os, sys, threading, time
from runner import run
thread = threading.Thread(target=run, args=(sys.argv[1],))
run(sys.argv[1], overrides="vm.timeout=50ms")
thread.start()
while not os.path.exists(sys.argv[2]) or not os.path.getsize(sys.argv[2]):
    time.sleep(0.01)
fork = os.fork()
if fork == 0:
    print(run(sys.argv[1], overrides=["vm.timeout=50ms", f"trace.path={sys.argv[3]}"]).kind, flush=True)
    time.sleep(60)
os.waitid(os.P_PID, fork, os.WEXITED)
"""


def test_a_fork_has_a_recorder_of_its_own_and_does_not_keep_that_of_a_vmm_that_is_killed(write_spec, tmp_path):
    spec = write_spec(FLOOD)
    command = [sys.executable, "-c", FORKING, spec, tmp_path / "guest.arrows", tmp_path / "fork.arrow"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"timeout\n"
    [fork] = [child for child in children(process.pid) if children(child)]
    process.kill()
    process.wait()
    try:
        eventually(lambda: not (tmp_path / "guest.ring").exists(), "the recorder waits for the fork")
        assert tracer.load(tmp_path / "guest.arrow").summary["result"]["kind"] == "killed"
        assert tracer.load(tmp_path / "fork.arrow").summary["result"]["kind"] == "timeout"
    finally:
        os.kill(fork, signal.SIGKILL)
        process.stdout.close()


# Out of the way


def test_no_terminal_and_no_signal_reaches_it(start, write_spec):
    process = start(write_spec(RUNNING, devices=[DEBUG]))
    recorder = recorder_of(process)
    assert (os.getsid(recorder), os.getpgid(recorder)) == (recorder, recorder)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP, signal.SIGUSR1):
        os.kill(recorder, number)
    process.terminate()
    error = process.communicate(timeout=30)[1].decode()
    assert (process.returncode, "interrupted after" in error) == (130, True), error
    assert gone(recorder)


def test_it_holds_nothing_of_its_callers(start, write_spec):
    """A reader of vmrun's output sees the end of it with vmrun's end, whatever the recorder does."""
    read, write = os.pipe()
    os.set_inheritable(write, True)
    process = start(write_spec(RUNNING, devices=[DEBUG]))
    os.close(write)
    recorder = recorder_of(process)
    descriptors = Path(f"/proc/{recorder}/fd")
    eventually(lambda: len(list(descriptors.iterdir())) > 4, "it has not begun")
    found = []
    for path in descriptors.iterdir():
        with suppress(FileNotFoundError):  # it closes files meanwhile, those of its imports
            found.append(str(path.readlink()))
    assert [name for name in found if name.startswith("pipe")] == []
    assert len(found) > 3
    os.close(read)


def test_it_loads_arrow_without_numpy(start, write_spec, tmp_path):
    """numpy costs twice as much as all the rest, and its threads spin beside the guest."""
    path = tmp_path / "run.arrow"
    process = start(write_spec(RUNNING, devices=[DEBUG], trace={"path": str(path)}))
    eventually(path.with_name("run.arrows").exists, "nothing is recorded")
    loaded = Path(f"/proc/{recorder_of(process)}/maps").read_text()
    assert ("/pyarrow/" in loaded, "/numpy" in loaded) == (True, False)


# What is done to its files meanwhile


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "runs").mkdir()
    return tmp_path / "runs"


def test_a_folder_that_is_renamed_keeps_its_trace(start, write_spec, folder):
    process = start(write_spec(RUNNING, devices=[DEBUG], trace={"path": "runs/guest.arrow"}))
    eventually((folder / "guest.arrows").exists, "nothing is recorded")
    moved = folder.rename(folder.with_name("moved"))
    process.terminate()
    error = process.communicate(timeout=30)[1].decode()
    assert (process.returncode, f"recorded in {moved}/guest.arrow" in error) == (130, True), error
    assert [path.name for path in moved.iterdir()] == ["guest.arrow"]
    assert tracer.load(moved / "guest.arrow").complete
    assert not folder.exists()


def test_a_folder_that_is_deleted_takes_its_trace_with_it(start, write_spec, folder):
    process = start(write_spec(RUNNING, devices=[DEBUG], trace={"path": "runs/guest.arrow"}))
    eventually((folder / "guest.arrows").exists, "nothing is recorded")
    shutil.rmtree(folder)
    process.terminate()
    error = process.communicate(timeout=30)[1].decode()
    assert (process.returncode, f"{folder}/guest.arrows was deleted" in error) == (
        6, True,
    ), error  # fmt: skip


def test_a_running_machine_can_be_watched(start, write_spec, tmp_path):
    process = start(write_spec(RUNNING, devices=[DEBUG]))
    eventually((tmp_path / "guest.arrows").exists, "nothing is recorded")
    command = [sys.executable, "-m", "tracer.cli", "top", "--once", tmp_path / "guest.arrow"]
    seen = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (seen.returncode, "0x80" in seen.stdout, process.poll()) == (0, True, None), seen
