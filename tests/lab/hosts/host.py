"""An emulated host: the interface of each kind, and one stay in it from its start to the command's exit status."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from types import FrameType
from typing import ClassVar

from tests.lab.hosts.channel import Channel, Console, read
from tests.lab.hosts.job import TIMED_OUT, Job, LabError, NeverBegan

STOP = b"\x1d"  # Ctrl-], typed on the terminal, ends the lab
GRACE = 10  # seconds between our time limit and the emulated host's own
STARTS = 3  # times that an emulated host may hang before its command began


class StoodStill(Exception):
    """The emulated host gave no sign of life for too long."""


class Ended(BaseException):
    """A signal ended the lab; it is raised in the main thread, wherever that is."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.status = TIMED_OUT if signum == signal.SIGALRM else 128 + signum


class Host(ABC):
    """One emulated host for one job. Its maker starts it; whatever happens, :meth:`close` ends it."""

    kernel: ClassVar[str]  # as tests/guests/debian.py names it
    memory: ClassVar[str]
    smp: ClassVar[int]
    silence: ClassVar[int]  # seconds without a sign of life after which it stands still

    @staticmethod
    @abstractmethod
    def prepare(kernel: str) -> None:
        """Install and fetch what it needs. Raises DebianError."""

    @abstractmethod
    def __init__(self, job: Job, *, terminal: bool) -> None:
        self.control: Channel
        self.log = Console()
        self.process: subprocess.Popen[bytes]

    @abstractmethod
    def began(self) -> None:
        """The command begins: connect its standard streams."""

    @abstractmethod
    def alive(self, *progress: int) -> None:
        """A sign of life; ``progress`` is the bytes that the command has written to each stream, if it is known."""

    @abstractmethod
    def complete(self, *written: int) -> None:
        """The command has ended, having written so many bytes to each stream: pass all of it on."""

    def explain(self, problem: str) -> str:
        """A problem with the host, and what there is to see of it."""
        return self.log.explain(problem)

    @abstractmethod
    def close(self) -> None:
        """End the emulator; nothing is left of it."""


def run(kind: type[Host], job: Job) -> int:
    """Run the job and return its exit status."""
    # QEMU 7.2 can translate a page of code while another processor patches it, and Linux patches itself while it
    # starts: now and then an emulated host stands still for ever.
    for _ in range(STARTS - 1):
        with contextlib.suppress(NeverBegan):
            return stay(kind, job)
        print("lab: the emulated host stood still before it began, and is started again", file=sys.stderr)
    return stay(kind, job)


def stay(kind: type[Host], job: Job) -> int:
    """Run the job on one emulated host."""
    began = False
    end_on_signals()
    signal.setitimer(signal.ITIMER_REAL, job.timeout)
    with contextlib.ExitStack() as stack:
        host = kind(job, terminal=os.isatty(0) and os.isatty(1))
        stack.callback(host.close)
        stack.callback(ignore_signals)
        try:
            for word, *numbers in messages(host):
                began = True
                match word, [int(number) for number in numbers]:
                    case "began", _:
                        host.began()
                    case "alive", progress:
                        host.alive(*progress)
                    case "exit", [status, *written]:
                        host.complete(*written)
                        return status
            raise LabError(host.explain("the emulated host ended before the command did"))
        except StoodStill:
            failure = LabError if began else NeverBegan
            raise failure(host.explain("the emulated host stands still")) from None
        except Ended as ended:
            if ended.status != TIMED_OUT:
                raise
            raise LabError(host.explain(f"timed out after {job.timeout:g} s"), TIMED_OUT) from None


def messages(host: Host) -> Iterator[list[str]]:
    """What init says, in words, line by line, until the emulated host ends. Raises StoodStill."""
    rest, silence = b"", 0
    while silence < host.silence:
        ready, _, _ = select.select([host.control.ours], [], [], 1)
        if not ready:
            silence += 1  # counted, not timed, because this machine may be suspended itself
            if host.process.poll() is not None:
                return
            continue
        data = read(host.control.ours)
        if not data:
            return
        silence = 0
        *lines, rest = (rest + data).split(b"\n")
        yield from (line.decode(errors="replace").split() for line in lines if line.strip())
    raise StoodStill


SIGNALS = (signal.SIGALRM, signal.SIGHUP, signal.SIGINT, signal.SIGPIPE, signal.SIGTERM)


def end_on_signals() -> None:
    """Each signal that ends us raises Ended."""

    def end(signum: int, _frame: FrameType | None) -> None:
        raise Ended(signum)

    for signum in SIGNALS:
        signal.signal(signum, end)


def ignore_signals() -> None:
    """What ends is not to be interrupted."""
    for signum in SIGNALS:
        signal.signal(signum, signal.SIG_IGN)
