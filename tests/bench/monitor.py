"""A virtual machine monitor that runs, and what it costs: vmrun and its peers, told the same things."""

import os
import select
import subprocess
import time
import tty
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

PATIENCE = 40.0  # seconds for one answer of a guest's


class StoodStill(Exception):
    """No answer came."""


class Sample(NamedTuple):
    """A moment, and the nanoseconds of CPU of each thread until then."""

    t: float
    cpu: dict[int, int]

    def used(self, before: "Sample") -> tuple[float, float]:
        """CPU seconds since, of all threads, and of all but the busiest: the vCPU's, where it waits by polling."""
        spent = [now - before.cpu.get(thread, 0) for thread, now in self.cpu.items()]
        return sum(spent) / 1e9, (sum(spent) - max(spent)) / 1e9


class Monitor:
    """A running monitor. Lines that its guest prints are on its standard output, lines to the guest go to its input:
    pipes, or a terminal for kvmtool, which reads nothing without one."""

    def __init__(self, command: Sequence[str], cwd: Path | None = None, *, terminal: bool = False) -> None:
        self.command = command
        if terminal:
            self._input, stdin = os.openpty()
            tty.setraw(stdin)
            self._output, stdout = os.dup(self._input), os.dup(stdin)
        else:
            (stdin, self._input), (self._output, stdout) = os.pipe(), os.pipe()
        self._process = subprocess.Popen(command, cwd=cwd, stdin=stdin, stdout=stdout, stderr=subprocess.STDOUT)
        os.close(stdin)
        os.close(stdout)
        self._seen = b""

    def line(self, mark: bytes) -> bytes:
        """What follows a mark on its line, which ends with a line feed. Raises StoodStill."""
        deadline = time.monotonic() + PATIENCE
        while True:
            before, found, after = self._seen.partition(mark)
            if found and b"\n" in after:
                line, _, self._seen = after.partition(b"\n")
                return line
            wait = deadline - time.monotonic()
            ready = wait > 0 and select.select([self._output], [], [], wait)[0]
            try:
                data = os.read(self._output, 1 << 16) if ready else b""
            except OSError:  # EIO of a terminal: the monitor has ended
                data = b""
            if not data:
                told = (before + found + after)[-2000:].decode(errors="replace")
                raise StoodStill(f"{' '.join(self.command)}: no {mark!r} in\n{told}")
            self._seen += data

    def say(self, line: bytes) -> None:
        """Send the guest a line."""
        os.write(self._input, line + b"\n")

    def sample(self) -> Sample:
        """The process alone: vmrun's recorder is another one."""
        cpu = {}
        for thread in Path(f"/proc/{self._process.pid}/task").iterdir():
            try:
                cpu[int(thread.name)] = int((thread / "schedstat").read_text().split()[0])
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has ended
        return Sample(time.monotonic(), cpu)

    def end(self) -> None:
        """Until it has ended, whatever the guest does."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._input)
        os.close(self._output)
