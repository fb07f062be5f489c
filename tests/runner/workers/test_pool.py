"""The executor of processes: it outlives its workers, and leaves nothing."""

import operator
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runner.workers.pool import WorkerLostError, Workers


@pytest.fixture
def workers():
    with Workers(2) as made:
        yield made


def alive(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def gone(*pids):
    """Wait until processes have ended."""
    deadline = time.monotonic() + 20
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not any(map(alive, pids))


def test_calls_are_made_in_processes_that_are_kept(workers):
    one = workers.submit(os.getpid).result()
    assert one != os.getpid()
    assert workers.submit(os.getpid).result() == one  # the second process was never needed
    assert [*workers.map(operator.add, range(20), range(20))] == [2 * n for n in range(20)]


def test_what_a_call_raises(workers):
    with pytest.raises(ZeroDivisionError):
        workers.submit(operator.truediv, 1, 0).result()
    assert workers.submit(operator.add, 1, 2).result() == 3


def test_what_cannot_be_pickled_fails_alone(workers):
    with pytest.raises(Exception, match="pickle"):
        workers.submit(lambda: 1).result()
    assert workers.submit(operator.add, 1, 2).result() == 3


def test_a_worker_that_is_killed_fails_its_own_call_only(workers):
    first = workers.submit(os.getpid).result()
    with pytest.raises(WorkerLostError, match="its worker process was killed by SIGKILL"):
        workers.submit(signal.raise_signal, signal.SIGKILL).result()
    assert workers.submit(os.getpid).result() != first


def test_a_worker_that_ends_by_itself_says_why(workers):
    with pytest.raises(WorkerLostError, match="ended with status 3"):
        workers.submit(os._exit, 3).result()
    with pytest.raises(WorkerLostError, match=r"ended with status 1: .*so it is"):
        workers.submit(exec, "import sys, threading; sys.exit('so it is')").result()


def test_nothing_is_left(descriptors):
    before = descriptors()
    with Workers(2) as made:
        pids = {made.submit(os.getpid).result() for _ in range(2)}
    assert not any(map(alive, pids))
    assert descriptors() == before
    with pytest.raises(RuntimeError):
        made.submit(os.getpid)


def test_calls_that_were_taken_are_made_before_the_end():
    with Workers(1) as made:
        futures = [made.submit(operator.neg, number) for number in range(5)]
    assert [future.result() for future in futures] == [0, -1, -2, -3, -4]


def test_a_stop_interrupts_what_runs_and_cancels_the_rest():
    with Workers(1) as made:
        pid = made.submit(os.getpid).result()
        running, waiting = made.submit(time.sleep, 60), made.submit(time.sleep, 60)
        while not running.running():
            time.sleep(0.01)
        made.stop()
    assert waiting.cancelled()
    with pytest.raises(WorkerLostError):
        running.result()
    assert not alive(pid)


OWNER = """
import os, sys, time
from runner.workers.pool import Workers
made = Workers(1)
print(made.submit(os.getpid).result(), flush=True)
made.submit(time.sleep, 60).result()
"""


def test_workers_end_with_the_process_that_started_them():
    with subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True) as owner:
        pid = int(owner.stdout.readline())
        owner.kill()
    assert gone(pid)
