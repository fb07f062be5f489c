"""What disturbs a run from the host's side: signals to its vCPU, pauses, and a process that keeps a processor busy.

A machine with virtual time must not show it to its guest.
"""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from random import Random
from time import sleep

from runner.kvm.errors import KvmError
from runner.machine.lifecycle import LifecycleError
from runner.machine.machine import Machine
from vmspec.host.threads import Worker

APART = 2e-3  # seconds between two disturbances, at most
PAUSES = 1 / 16  # of them are pauses, the rest signals
PAUSE = 3e-3  # seconds of a pause, at most
# It ends with the process that started it, however that ends.
BUSY = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"


@contextmanager
def disturbed(machine: Machine, seed: str) -> Iterator[None]:
    """Disturb the machine during the block. The seed decides when and how; what the guest does at that moment is the
    host's affair."""
    over = threading.Event()
    disturber = Worker("disturbance", lambda: _disturb(machine, Random(seed), over))
    load = subprocess.Popen([sys.executable, "-I", "-S", "-c", BUSY], stdin=subprocess.DEVNULL)
    try:
        disturber.start()
        yield
    finally:
        over.set()
        disturber.outlast()
        load.kill()
        load.wait()


def _disturb(machine: Machine, random: Random, over: threading.Event) -> None:
    while not over.wait(random.uniform(0, APART)):
        pause = random.random() < PAUSES
        length = random.uniform(0, PAUSE)
        if not pause:
            machine.kick()
            continue
        with suppress(LifecycleError, TimeoutError, KvmError):  # it does not run yet, or its run reports what is wrong
            if machine.pause():
                sleep(length)
                machine.resume()
