"""Runs inside the lab: the same spec some times, three of four times while something disturbs it.

    repeat.py OUT RUNS SPEC [ARGUMENT]...

Leaves in OUT each run's trace, N.arrow, its console, N.console, and what vmrun said, N.log. Runs of odd numbers are
stopped and continued at random, tens of times a second, and two of four have a busy processor beside them. A run whose
trace is in OUT is not made again.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))
from tests.lab.inside import unpatched  # noqa: E402

HERE = Path("/run/repeat")  # in memory: writing to the shared directory is slow
LIMIT, PATIENCE = 300, 60  # seconds for the guest, and more for vmrun to end
LAB_FAILED = 125  # the lab's own exit status: the emulated host is of no more use, another may be
# Seconds at most. One that goes on for less than it takes an emulated processor to enter a guest makes no progress.
STANDS, GOES_ON = 0.003, 0.1
# It takes the processor often, but not half of it: the emulated one is slow enough.
BUSY = [sys.executable, "-S", "-c", "import os; os.nice(10)\nwhile True: pass"]


def disturb(process: subprocess.Popen[bytes], number: int, latest: float) -> None:
    """Stop and continue a process until it has ended, or until then."""
    chance = random.Random(number)
    while process.poll() is None and time.monotonic() < latest:
        process.send_signal(signal.SIGSTOP)
        time.sleep(chance.uniform(0, STANDS))
        process.send_signal(signal.SIGCONT)
        time.sleep(chance.uniform(0, GOES_ON))


def run(number: int, command: list[str], folder: Path) -> int:
    """One run, with its files in a folder. Returns its exit status. Raises TimeoutExpired if it cannot even be
    killed."""
    busy = [subprocess.Popen(BUSY)] if number % 4 > 1 else []
    with (folder / f"{number}.console").open("wb") as console, (folder / f"{number}.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=console, stderr=log)
        latest = time.monotonic() + LIMIT + PATIENCE
        if number % 2:
            disturb(process, number, latest)
        try:
            status = process.wait(max(latest - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait(PATIENCE)
    for one in busy:
        one.kill()
        one.wait()
    return status


def main() -> None:
    out, runs, *arguments = sys.argv[1:]
    HERE.mkdir()
    unpatched.keep()
    for number in range(int(runs)):
        if Path(out, f"{number}.arrow").exists():
            continue
        folder = HERE / str(number)
        folder.mkdir()
        trace = folder / f"{number}.arrow"
        command = [sys.executable, "-m", "runner.cli", *arguments, "--timeout", f"{LIMIT}s", "--trace", str(trace)]
        try:
            status = run(number, command, folder)
        except subprocess.TimeoutExpired:
            # QEMU 7.2: not even a signal ends the guest's stay in the emulated processor.
            print(f"run {number}: its vCPU never comes back from the emulated processor", flush=True)
            os._exit(LAB_FAILED)
        print(f"run {number}: status {status}", flush=True)
        for path in sorted(folder.iterdir(), reverse=True):  # the trace last, with which the run is there
            shutil.copy(path, out)
        shutil.rmtree(folder)  # the Intel host has OUT in memory too


if __name__ == "__main__":
    main()
