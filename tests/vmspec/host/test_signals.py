"""Signals that ask a command to end: they unwind it."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from vmspec.host.signals import ENDING, unwinding


@pytest.fixture(autouse=True)
def handlers():
    """Those that other tests have are set again."""
    before = {number: signal.getsignal(number) for number in ENDING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def receive(number):
    os.kill(os.getpid(), number)
    threading.Event().wait(60)


@pytest.mark.parametrize("number", ENDING)
def test_each_is_an_interrupt_until_the_block_ends(number):
    signal.signal(number, signal.SIG_DFL)
    with pytest.raises(KeyboardInterrupt), unwinding():
        receive(number)
    assert signal.getsignal(number) is signal.SIG_DFL


@pytest.mark.parametrize("number", ENDING)
def test_an_ignored_one_stays_ignored(number):
    signal.signal(number, signal.SIG_IGN)
    with unwinding():
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) is signal.SIG_IGN


def test_another_thread_changes_none():
    seen = []

    def work():
        with unwinding():
            seen.extend(map(signal.getsignal, ENDING))

    before = list(map(signal.getsignal, ENDING))
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == before


PROGRAM = """
import sys, time
from {package} import cli, entry

def command():
    try:
        print("begun", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        return 130

cli.main = command
sys.exit(entry.main())
"""


@pytest.mark.parametrize("number", ENDING)
@pytest.mark.parametrize("package", ["vmspec", "tracer"])
def test_the_commands_end_in_order(package, number):
    command = [sys.executable, "-c", PROGRAM.format(package=package)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"begun\n"
        process.send_signal(number)
        assert (*process.communicate(), process.returncode) == (b"", b"", 130)
