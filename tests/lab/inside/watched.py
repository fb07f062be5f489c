"""Runs inside the lab: runs of vmrun, one after the other, beside the kernel's own count of its returns to user space.

    watched.py JOBS OUT

JOBS is a JSON file, a list of {"name", "arguments" (of vmrun), "kill" (seconds after the guest's start, or null),
"perf" (whether `perf kvm stat` counts beside) and "files" (what is copied to HERE before, by its name there)}. Each run
leaves in OUT/NAME these files, what vmrun printed (console, log), its trace, and result.json: "status", "seconds", and
"returns", a list of [thread, KVM exit reason, errno, number of returns from KVM_RUN]. A vmrun that does not end is
aborted; the log then has its threads' stacks.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
# In memory: writing to the shared directory is slow, and would be what is measured.
HERE = Path("/run/watched")
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


def run(job: dict[str, Any]) -> dict[str, object]:
    """One run; its files are left in HERE."""
    HERE.mkdir()
    for name, source in job["files"].items():
        shutil.copyfile(source, HERE / name)
    kill = job["kill"]
    command = [sys.executable, "-m", "runner.cli", *job["arguments"], "--timeout", f"{job['limit']}s"]
    command += ["--trace", str(HERE / "trace.arrow")]
    environment = os.environ | {"PYTHONFAULTHANDLER": "1"}
    with (
        perf(job["perf"]),
        returns_counted() as counts,
        (HERE / "console").open("wb") as console,
        (HERE / "log").open("wb") as log,
    ):
        start = time.monotonic()
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=console, stderr=log
        )
        if kill is not None:
            wait_for_guest(process)
            time.sleep(kill)
            process.kill()
        try:
            status = process.wait(job["limit"] + PATIENCE if kill is None else KILLED)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)
            try:
                status = process.wait(KILLED)
            except subprocess.TimeoutExpired:
                print(
                    "vmrun cannot be ended: one of its vCPUs never comes back from the emulated processor", flush=True
                )
                os._exit(LAB_FAILED)
        if kill is not None:
            wait_for_recorder()
        return {"status": status, "seconds": time.monotonic() - start, "returns": counts()}


def wait_for_guest(process: subprocess.Popen[bytes]) -> None:
    """Until the guest starts: the ring file gets its first bytes just before."""
    ring = HERE / "trace.ring"
    while process.poll() is None and not (ring.exists() and any(ring.open("rb").read(8))):
        time.sleep(0.01)


def wait_for_recorder() -> None:
    """Until the recorder of a vmrun that was killed has closed the trace: it removes the ring file last."""
    latest = time.monotonic() + KILLED
    while (HERE / "trace.ring").exists() and time.monotonic() < latest:
        time.sleep(0.05)


def main() -> None:
    jobs, out = Path(sys.argv[1]), Path(sys.argv[2])
    shutil.rmtree(out / "partial", ignore_errors=True)
    for job in json.loads(jobs.read_text()):
        result = run(job)
        # About one boot in thirty stands still for ever, QEMU's own as a monitor in the lab too: QEMU 7.2 can translate
        # a page of kernel code while another processor patches it. Or the guest meets, long after, the breakpoint that
        # stood there while it was patched. One is said and tried again; two are a failure.
        if result["status"] in STUCK or BREAKPOINT in (HERE / "console").read_bytes():
            print(f"{job['name']}: the guest met QEMU's fault, and is started once more", flush=True)
            shutil.copytree(HERE, out / f"{job['name']}-stuck", dirs_exist_ok=True)
            shutil.rmtree(HERE)
            result = run(job)
        (HERE / "result.json").write_text(json.dumps(result))
        # Under its name only when whole: the emulated host may hang at any moment.
        shutil.copytree(HERE, out / "partial")
        (out / "partial").rename(out / job["name"])
        shutil.rmtree(HERE)
        print(f"{job['name']}: status {result['status']} after {result['seconds']:.1f} s", flush=True)


if __name__ == "__main__":
    main()
