"""Running a unit test, and what its end means."""

import json
import subprocess
import time
from pathlib import Path
from typing import Literal, NamedTuple

from runner.workers.pool import WorkerLostError, Workers
from runner.workers.task import Outcome, Task, perform
from tests.kvmunit import machine
from tests.kvmunit.config import Tree, UnitTest
from tests.kvmunit.machine import SkippedError
from vmspec.schema.problems import SpecError

Verdict = Literal["pass", "fail", "skip", "timeout"]
VERDICTS: tuple[Verdict, ...] = ("pass", "fail", "skip", "timeout")
# Values that a test writes to port 0xf4, as the exit status has them: (value << 1) | 1.
PASSED, SKIPPED = 1, 77
PATIENCE = 180.0  # seconds that vmrun may take besides the guest's own time, on an emulated host too
CONSOLE = "console.txt"
TAIL = 5  # lines of the console among which the summary is (scripts/runtime.bash)


class Verdicted(NamedTuple):
    """What came of a test. ``seconds`` is for all of it, the VMM's start and end too. ``reason`` is the test's own
    summary, or why it did not pass."""

    name: str
    verdict: Verdict
    seconds: float
    reason: str


def judged(name: str, seconds: float, status: int, console: bytes) -> Verdicted:
    """The verdict on a guest that ended by port 0xf4 with this exit status."""
    said = summary(console)
    if status == PASSED:
        return Verdicted(name, "pass", seconds, said)
    if status == SKIPPED:
        return Verdicted(name, "skip", seconds, first(console, "SKIP") or before_summary(console))
    return Verdicted(name, "fail", seconds, first(console, "FAIL", "ABORT") or said or f"exit status {status}")


def summary(console: bytes) -> str:
    """The line in which a test counts its checks, without its first word."""
    lines = console.decode(errors="replace").splitlines()[-TAIL:]
    return next((line.partition(": ")[2] for line in reversed(lines) if line.startswith("SUMMARY: ")), "")


def before_summary(console: bytes) -> str:
    """The last line before that, which says why a test has made no check."""
    lines = [line for line in console.decode(errors="replace").splitlines() if line.strip()]
    return next((line for line in reversed(lines) if not line.startswith("SUMMARY: ")), "")


def first(console: bytes, *words: str) -> str:
    """The first line of the console that begins with one of these words, and how many more there are."""
    found = [line for line in console.decode(errors="replace").splitlines() if line.partition(":")[0] in words]
    return found[0] + (f" (and {len(found) - 1} more)" if len(found) > 1 else "") if found else ""


class Vmrun:
    """Runs tests with vmrun, in a process of their own."""

    name = "vmrun"

    def __init__(self, trace: bool = False) -> None:
        self._trace = trace
        self._workers: Workers | None = None

    def run(self, tree: Tree, test: UnitTest, folder: Path, release: str) -> Verdicted:
        """Run a test, with its files in a folder."""
        begin = time.monotonic()
        try:
            spec = machine.write(tree, test, folder, release)
        except SkippedError as skip:
            return Verdicted(test.name, "skip", 0.0, str(skip))
        except SpecError as error:
            return Verdicted(test.name, "fail", 0.0, f"vmrun rejects its machine: {error.problems[0]}")
        outcome = self._performed(Task(spec, (), folder / "trace.arrow" if self._trace else None), test.timeout)
        return self._judged(test, outcome, time.monotonic() - begin, folder)

    def _performed(self, task: Task, timeout: float | None) -> Outcome:
        if self._workers is None:
            self._workers = Workers(1)
        try:
            return self._workers.submit(perform, task).result(None if timeout is None else timeout + PATIENCE)
        except WorkerLostError as error:
            return Outcome(-1, None, str(error), 0.0, 0.0)
        except TimeoutError:
            self.close()
            return Outcome(-1, None, "vmrun did not end at the guest's timeout", 0.0, 0.0)

    def _judged(self, test: UnitTest, outcome: Outcome, seconds: float, folder: Path) -> Verdicted:
        result = outcome.result
        if result is None:
            return Verdicted(test.name, "fail", seconds, f"vmrun: {outcome.error}")
        (folder / CONSOLE).write_bytes(result.console)
        match result.kind:
            case "debug-exit":
                return judged(test.name, seconds, result.status, result.console)
            case "timeout":
                said = first(result.console, "FAIL", "ABORT") or f"no end within {test.timeout:g} s"
                return Verdicted(test.name, "timeout", seconds, said)
        return Verdicted(test.name, "fail", seconds, f"{result.kind}: {result.detail or 'no exit status'}")

    def close(self) -> None:
        """End the process."""
        if self._workers is not None:
            self._workers.stop()
            self._workers.shutdown()
            self._workers = None


class Qemu:
    """Runs tests with QEMU as the tree's own scripts do."""

    name = "qemu"

    def run(self, tree: Tree, test: UnitTest, folder: Path, release: str) -> Verdicted:
        """Run a test, with its files in a folder."""
        try:
            command = machine.qemu(tree, test, folder)
        except SkippedError as skip:
            return Verdicted(test.name, "skip", 0.0, str(skip))
        machine.environment(tree, folder, release)
        begin = time.monotonic()
        with (folder / CONSOLE).open("wb") as console:
            try:
                done = subprocess.run(
                    command, stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.PIPE, timeout=test.timeout,
                    check=False,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                done = None
        seconds, said = time.monotonic() - begin, (folder / CONSOLE).read_bytes()
        if done is None:
            return Verdicted(test.name, "timeout", seconds, f"no end within {test.timeout:g} s")
        # Statuses 0 and 1 are QEMU's own as well. With 1 its errors tell (scripts/vmm.bash).
        errors = [line for line in done.stderr.decode(errors="replace").splitlines() if "warning" not in line.lower()]
        if done.returncode <= 0 or (done.returncode == PASSED and errors):
            why = errors[-1] if errors else f"QEMU ended with {done.returncode}"
            return Verdicted(test.name, "fail", seconds, why)
        return judged(test.name, seconds, done.returncode, said)

    def close(self) -> None:
        """Nothing outlives a test."""


def line(result: Verdicted) -> str:
    """A row of the table."""
    return f"{result.name:40} {result.verdict:8} {result.seconds:7.1f} s  {result.reason}".rstrip()


def record(result: Verdicted, vmm: str) -> str:
    """The same as a line of JSON."""
    return json.dumps({"vmm": vmm, **result._asdict()})
