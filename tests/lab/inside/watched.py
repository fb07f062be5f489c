"""Runs inside the lab: runs of vmrun, one after the other, beside the kernel's own count of its returns to user space.

    watched.py JOBS OUT

JOBS is a JSON file, a list of {"name", "arguments" (of vmrun), "kill" (seconds after the guest's start, or null),
"perf" (whether `perf kvm stat` counts beside) and "files" (what is copied to HERE before, by its name there)}. Each run
leaves in OUT/NAME these files, what vmrun printed (console, log), its trace, and result.json: "status", "seconds", and
"returns", a list of [thread, KVM exit reason, errno, number of returns from KVM_RUN]. A vmrun that does not end is
aborted; the log then has its threads' stacks.

All runs are in one process, until one is killed: here, what vmrun imports takes longer than a small guest.
"""

import faulthandler
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))
from tests.lab.inside import unpatched  # noqa: E402

# In memory: writing to the shared directory is slow, and would be what is measured.
HERE = Path("/run/watched")
FORK = multiprocessing.get_context("fork")
STREAMS = (
    (0, os.devnull, os.O_RDONLY),
    (1, HERE / "console", os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    (2, HERE / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
)
STUCK = (5, -signal.SIGABRT)  # exit statuses: vmrun timed out, or did not even end
BREAKPOINT = b"int3: 0000 [#1]"  # in a guest's oops
KILLED = 60  # seconds for one that was killed to be gone
LAB_FAILED = 125  # the lab's own exit status: the emulated host is of no more use, another may be
PATIENCE = 60  # seconds that vmrun may take beside its guest

INSTANCE = Path("/sys/kernel/tracing/instances/vmrun")
EVENT = INSTANCE / "events" / "kvm" / "kvm_userspace_exit"
# The kernel counts by itself, so no event is lost however many there are.
COUNT = "hist:keys=common_pid,reason,errno:size=4096"
COUNTED = re.compile(r"\{ common_pid: +(\d+), reason: +(\d+), errno: +(-?\d+) \} hitcount: +(\d+)")
UNCOUNTED = re.compile(r"Dropped: (\d+)")


@contextmanager
def returns_counted() -> Iterator[Callable[[], list[tuple[int, ...]]]]:
    """Count kvm:kvm_userspace_exit from here on; returns a function that returns the counts."""
    INSTANCE.mkdir()
    try:
        (EVENT / "trigger").write_text(COUNT)
        yield returns
        (EVENT / "trigger").write_text(f"!{COUNT}")
    finally:
        INSTANCE.rmdir()


def returns() -> list[tuple[int, ...]]:
    """What was counted: thread, reason, errno (negative, 0 for a return that is an exit) and how often."""
    text = (EVENT / "hist").read_text()
    if UNCOUNTED.findall(text) != ["0"]:
        raise RuntimeError(f"the kernel's table of counts was too small:\n{text[-200:]}")
    rows = [[int(number) for number in row] for row in COUNTED.findall(text)]
    # The kernel prints errno, an int, without its sign.
    return [(thread, reason, error - (1 << 64) * (error >> 63), n) for thread, reason, error, n in rows]


@contextmanager
def perf(wanted: bool) -> Iterator[None]:
    """Have `perf kvm stat` record whatever guests run meanwhile; what it reports is left in HERE/perf.txt."""
    if not wanted:
        yield
        return
    data = HERE / "perf.data"
    recorder = subprocess.Popen(
        ["perf", "kvm", "stat", "record", "-a", "-o", data], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    while not data.exists() and recorder.poll() is None:
        time.sleep(0.05)
    time.sleep(1)  # it opens its events after the file
    yield
    recorder.send_signal(signal.SIGINT)
    _, said = recorder.communicate()
    report = ["perf", "kvm", "-i", data, "stat", "report", "--event=vmexit"]
    done = subprocess.run(report, capture_output=True, text=True, check=False)
    (HERE / "perf.txt").write_text(done.stdout + done.stderr + said.decode(errors="replace"))
    data.unlink(missing_ok=True)


class Vmrun:
    """A process that executes one command line of vmrun after the other, or its successor if it was killed."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._ours, theirs = FORK.Pipe()
        self.process = FORK.Process(target=serve, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()  # so that _ours ends with the process

    def start(self, arguments: list[str]) -> None:
        """Begin to execute a command line; the console and what vmrun says go to HERE."""
        if not self.process.is_alive():
            self._begin()
        self._ours.send(arguments)

    def wait(self, seconds: float) -> int | None:
        """The exit status, negative if a signal ended the process; None if there is none in time."""
        if not self._ours.poll(seconds):
            return None
        try:
            return int(self._ours.recv())
        except EOFError:
            self.process.join()
            return self.process.exitcode

    def abort(self) -> int:
        """Have the process write its threads' stacks, and end."""
        os.kill(self.process.pid or 0, signal.SIGABRT)
        self.process.join(KILLED)
        if self.process.exitcode is None:
            print("vmrun cannot be ended: one of its vCPUs never comes back from the emulated processor", flush=True)
            os._exit(LAB_FAILED)
        return self.process.exitcode


def serve(theirs: Connection) -> None:
    """Execute the command lines that come, each with the standard streams of a command of its own."""
    from runner import cli

    os.chdir(ROOT)
    faulthandler.enable()
    while True:
        arguments = theirs.recv()
        for number, name, flags in STREAMS:
            opened = os.open(name, flags)
            os.dup2(opened, number)
            os.close(opened)
        theirs.send(cli.main(arguments))


def run(job: dict[str, Any], vmrun: Vmrun) -> dict[str, object]:
    """One run; its files are left in HERE."""
    HERE.mkdir()
    for name, source in job["files"].items():
        shutil.copyfile(source, HERE / name)
    kill = job["kill"]
    with perf(job["perf"]), returns_counted() as counts:
        start = time.monotonic()
        vmrun.start([*job["arguments"], "--timeout", f"{job['limit']}s", "--trace", str(HERE / "trace.arrow")])
        if kill is None:
            status = vmrun.wait(job["limit"] + PATIENCE)
        else:
            wait_for_guest(vmrun.process)
            time.sleep(kill)
            vmrun.process.kill()
            status = vmrun.wait(KILLED)
        if status is None:
            status = vmrun.abort()
        if kill is not None:
            wait_for_recorder()
        return {"status": status, "seconds": time.monotonic() - start, "returns": counts()}


def wait_for_guest(process: ForkProcess) -> None:
    """Until the guest starts: the ring file gets its first bytes just before."""
    ring = HERE / "trace.ring"
    while process.is_alive() and not (ring.exists() and any(ring.open("rb").read(8))):
        time.sleep(0.01)


def wait_for_recorder() -> None:
    """Until the recorder of a vmrun that was killed has closed the trace: it removes the ring file last."""
    latest = time.monotonic() + KILLED
    while (HERE / "trace.ring").exists() and time.monotonic() < latest:
        time.sleep(0.05)


def main() -> None:
    unpatched.keep()
    jobs, out = Path(sys.argv[1]), Path(sys.argv[2])
    shutil.rmtree(out / "partial", ignore_errors=True)
    vmrun = Vmrun()
    for job in json.loads(jobs.read_text()):
        result = run(job, vmrun)
        # About one boot in thirty stands still for ever, QEMU's own as a monitor in the lab too: QEMU 7.2 can translate
        # a page of kernel code while another processor patches it. Or the guest meets, long after, the breakpoint that
        # stood there while it was patched. One is said and tried again; two are a failure.
        if result["status"] in STUCK or BREAKPOINT in (HERE / "console").read_bytes():
            print(f"{job['name']}: the guest met QEMU's fault, and is started once more", flush=True)
            shutil.copytree(HERE, out / f"{job['name']}-stuck", dirs_exist_ok=True)
            shutil.rmtree(HERE)
            result = run(job, vmrun)
        (HERE / "result.json").write_text(json.dumps(result))
        # Under its name only when whole: the emulated host may hang at any moment.
        shutil.copytree(HERE, out / "partial")
        (out / "partial").rename(out / job["name"])
        shutil.rmtree(HERE)
        print(f"{job['name']}: status {result['status']} after {result['seconds']:.1f} s", flush=True)


if __name__ == "__main__":
    main()
