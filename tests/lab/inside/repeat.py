"""Runs inside the lab: the same spec some times, three of four times while something disturbs it.

    repeat.py OUT RUNS SPEC [ARGUMENT]...

Leaves in OUT each run's trace, N.arrow, its console, N.console, and what vmrun said, N.log. Runs of odd numbers are
stopped and continued at random, tens of times a second, and two of four have a busy processor beside them.
"""

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
HERE = Path("/run/repeat")  # in memory: writing to the shared directory is slow
# Seconds at most. One that goes on for less than it takes an emulated processor to enter a guest makes no progress.
STANDS, GOES_ON = 0.003, 0.03


def disturb(process: subprocess.Popen[bytes], number: int) -> None:
    """Stop and continue a process until it has ended."""
    chance = random.Random(number)
    while process.poll() is None:
        process.send_signal(signal.SIGSTOP)
        time.sleep(chance.uniform(0, STANDS))
        process.send_signal(signal.SIGCONT)
        time.sleep(chance.uniform(0, GOES_ON))


def main() -> None:
    out, runs, *arguments = sys.argv[1:]
    HERE.mkdir()
    for number in range(int(runs)):
        trace = HERE / f"{number}.arrow"
        busy = [subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"])] if number % 4 > 1 else []
        with (HERE / f"{number}.console").open("wb") as console, (HERE / f"{number}.log").open("wb") as log:
            command = [sys.executable, "-m", "runner.cli", *arguments, "--trace", str(trace)]
            process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=console, stderr=log)
            if number % 2:
                disturb(process, number)
            print(f"run {number}: status {process.wait()}", flush=True)
        for one in busy:
            one.kill()
            one.wait()
        shutil.copytree(HERE, out, dirs_exist_ok=True)
        shutil.rmtree(HERE)
        HERE.mkdir()


if __name__ == "__main__":
    main()
