"""A signal at each line of a run: before the guest nothing is left behind, while it runs the run ends in order, and
once it has ended the result stands."""

import os
import pty
import random
import signal
import subprocess
import sys
import tempfile
import termios
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import tomli_w

import tracer

pytestmark = pytest.mark.kvm

ROOT = Path(__file__).parents[2]
INJECTED = Path(__file__).with_name("injected.py")
NAMES = {"guest.toml", "report"}

HLT = "f4"
TRIPLE_FAULT = "0f 0b"  # ud2, in protected mode without an interrupt table
FLOOD = "e6 80 eb fc"  # out 0x80, al, for ever


class Guest(NamedTuple):
    """How a guest ends by itself: the status, the result's kind, the files that are there then."""

    code: str
    mode: str
    timeout: str
    status: int
    kind: str
    files: frozenset[str]


GUESTS = {
    "halt": Guest(HLT, "real", "20s", 0, "halt", frozenset({"guest.arrow"})),
    "crash": Guest(TRIPLE_FAULT, "protected", "20s", 4, "triple-fault", frozenset({"guest.arrow", "guest.crash.txt"})),
    "running": Guest(FLOOD, "real", "100ms", 5, "timeout", frozenset({"guest.arrow"})),
}


class Run(NamedTuple):
    """A run into which a signal was sent: when, how many lines came before the guest, and what was wrong with what came
    of it."""

    line: int
    before: int
    place: str
    phase: str
    wrong: str


def inject(guest: Guest, line: int, number: int, times: int = 1) -> Run:
    with tempfile.TemporaryDirectory() as directory:
        spec = {
            "vm": {"name": "guest", "memory": "1MiB", "timeout": guest.timeout},
            "boot": {"mode": guest.mode, "code": guest.code},
            "trace": {"path": "guest.arrow"},
            "device": [{"kind": "serial"}],
        }
        Path(directory, "guest.toml").write_text(tomli_w.dumps(spec))
        user, program = pty.openpty()
        before = termios.tcgetattr(program)
        done = subprocess.run(
            [sys.executable, INJECTED, *map(str, (line, number, times)), "report", "guest.toml"], cwd=directory,
            env=os.environ | {"PYTHONPATH": str(ROOT)}, stdin=program, capture_output=True, text=True, check=False,
            timeout=60, start_new_session=True,
        )  # fmt: skip
        cooked = termios.tcgetattr(program) == before
        os.close(user)
        os.close(program)
        count, place, ended, before = Path(directory, "report").read_text().splitlines()
        files = {path.name for path in Path(directory).iterdir()} - NAMES
        phase, wrong = judge(guest, done, files, Path(directory), number)
        if not cooked:
            wrong += " the terminal is raw;"
        if ended == "1" and done.returncode != guest.status:
            wrong += f" the guest had ended, but the status is {done.returncode};"
        return Run(int(count), int(before), place, phase, wrong)


def judge(guest: Guest, done: subprocess.CompletedProcess[str], files: set[str], directory: Path, number: int):
    """The phase that the run says it was in, and what does not fit that."""
    complete = "guest.arrow" in files and tracer.load(directory / "guest.arrow")
    kind = complete.summary["result"]["kind"] if complete and complete.complete else None
    wrong = f" {done.stderr.strip().splitlines()[-1]};" if "Traceback" in done.stderr else ""
    wrong += f" {done.stderr.strip()};" if "ignored" in done.stderr else ""
    match done.returncode:
        case guest.status:
            expected, phase, kinds = guest.files, "stands", (guest.kind,)
            wrong += "" if f"vmrun: {guest.kind} after" in done.stderr else f" not told: {done.stderr!r};"
        case 130 if "interrupted after" in done.stderr:
            expected, phase, kinds = {"guest.arrow"}, "ended", ("interrupted",)
        case 130:
            expected, phase, kinds = set(), "before", (None,)
        case status if status == -number:
            expected, phase, kinds = set(), "killed", (None,)
        case status:
            return "odd", f" status {status}: {done.stderr.strip()}"
    if files != expected:
        wrong += f" {phase}: files {sorted(files)};"
    if kind not in kinds:
        wrong += f" {phase}: the trace says {kind};"
    return phase, wrong


@cache
def lines_of(guest: Guest) -> range:
    """The lines to send a signal at."""
    return range(1, inject(guest, 0, 0).line + 1)


def lines_once_it_starts(guest: Guest) -> range:
    """Those from the guest's start on: what comes before is the same for every guest."""
    run = inject(guest, 0, 0)
    return range(run.before, run.line + 1)


def sweep(guest: Guest, lines: Sequence[int], number: int, times: int = 1) -> list[Run]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda line: inject(guest, line, number, times), lines))


def spread(guest: Guest, count: int) -> list[int]:
    """Lines all over a run, other ones each time."""
    return sorted(random.sample(lines_of(guest), count))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("name", GUESTS)
def test_a_signal_at_any_line(name, number):
    runs = sweep(GUESTS[name], spread(GUESTS[name], 4), number)
    assert [run for run in runs if run.wrong] == []


@pytest.mark.parametrize("name", GUESTS)
def test_two_signals_at_once_at_any_line(name):
    runs = sweep(GUESTS[name], spread(GUESTS[name], 3), signal.SIGTERM, 2)
    assert [run for run in runs if run.wrong] == []


# A program of the user's own

OWN = """
import os, signal, sys, threading, time
from runner.session.session import run
def interrupt():
    while not os.path.exists(sys.argv[2]):  # which is there once the guest runs
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt).start()
result = run(sys.argv[1])
print(result.kind, signal.getsignal(signal.SIGINT) is signal.default_int_handler)
try:
    os.kill(os.getpid(), signal.SIGINT)
    print("nothing")
except KeyboardInterrupt:
    print("KeyboardInterrupt")
"""


def python(script: str, *arguments) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


def test_ctrl_c_in_a_program_of_the_users_own_ends_its_run_only(write_spec, tmp_path):
    done = python(OWN, write_spec(FLOOD), tmp_path / "guest.arrows")
    assert (done.stdout, done.stderr) == ("interrupted True\nKeyboardInterrupt\n", "")


HANGING = """
import time
from runner.devices import Device

class Keep(Device):
    def start(self):
        print("starting", flush=True)
        time.sleep(60)
"""
KEEPER = {"kind": "python", "class": "keep:Keep", "port": [0x80, 1]}
INTERRUPTED = HANGING.replace(
    "time.sleep(60)",
    """import os, signal, threading
        for when in (0.2, 0.7):
            threading.Timer(when, os.kill, (os.getpid(), signal.SIGINT)).start()
        time.sleep(60)""",
)
INSISTING = """
import sys
from runner.session.session import run
try:
    run(sys.argv[1])
except KeyboardInterrupt:
    print("KeyboardInterrupt")
"""


def test_a_second_ctrl_c_ends_a_start_that_does_not_come_back(write_spec, tmp_path):
    done = python(INSISTING, write_spec(HLT, devices=[KEEPER], files={"keep.py": INTERRUPTED}))
    assert (done.stdout, done.stderr) == ("starting\nKeyboardInterrupt\n", "")
    assert {path.name for path in tmp_path.iterdir()} == {"guest.toml", "keep.py"}


def test_a_second_signal_ends_a_vmrun_that_does_not_start(write_spec, tmp_path):
    spec = write_spec(HLT, devices=[KEEPER], files={"keep.py": HANGING})
    command = [sys.executable, "-m", "runner.cli", spec]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"starting\n"
        for _ in range(2):
            process.terminate()
            time.sleep(0.2)
        assert (process.wait(30), process.stderr.read()) == (-signal.SIGTERM, b"")
    assert {path.name for path in tmp_path.iterdir()} == {"guest.toml", "keep.py"}


@pytest.mark.soak
@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize(
    ("name", "lines"), [("halt", lines_of), ("crash", lines_once_it_starts), ("running", lines_once_it_starts)]
)
def test_a_signal_at_every_line(name, lines, times):
    runs = sweep(GUESTS[name], lines(GUESTS[name]), signal.SIGTERM, times)
    print(Counter(run.phase for run in runs))
    assert [run for run in runs if run.wrong] == []
