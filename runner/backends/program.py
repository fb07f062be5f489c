"""A program of the host's that runs while a device needs it, and leaves nothing behind."""

import os
import select
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from runner.backends.errors import BackendError
from vmspec.host.printable import printable

PATIENCE = 5.0  # seconds that it may take to end once it is asked to
SAID = 2000  # bytes of what it has printed last that are read
LINES = 3  # of them that are shown


class Program:
    """A program in a session of its own, which no terminal signals. It gets SIGTERM should the thread that has started
    it end before :meth:`end`, as when vmrun is killed (prctl(2), PR_SET_PDEATHSIG).

    What it prints goes to vmrun's standard error, or with ``quiet`` only into the report of how it ended. Raises
    BackendError for ``key``.
    """

    def __init__(
        self, words: Sequence[str], descriptors: Sequence[int], directory: Path, key: str, quiet: bool = True
    ) -> None:
        self.name = Path(words[0]).name
        found = str(directory / words[0]) if "/" in words[0] else shutil.which(words[0])
        if found is None or not os.access(found, os.X_OK) or Path(found).is_dir():
            raise BackendError(key, f"there is no program {words[0]}")
        # util-linux has it, and so has every Debian.
        ends = [setpriv, "--pdeathsig", "TERM", "--"] if (setpriv := shutil.which("setpriv")) else []
        self._handle = -1
        self._output = os.memfd_create("output", os.MFD_CLOEXEC) if quiet else -1
        output = self._output if quiet else 2
        try:
            self._process = subprocess.Popen(
                [*ends, found, *words[1:]],
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=descriptors,
                start_new_session=True,
            )
        except OSError as error:
            self._forget()
            raise BackendError(key, f"cannot start {words[0]}: {error.strerror}") from error
        self._handle = os.pidfd_open(self._process.pid)

    def ended(self, seconds: float = 0) -> bool:
        """Whether it has ended, or does so within this time."""
        if self._handle < 0:
            return True
        poll = select.poll()
        poll.register(self._handle, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def fate(self) -> str:
        """How it ended, which it has, and what it printed last."""
        code = self._process.wait()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        return f"{self.name} {how}" + (f": {said}" if (said := self._said()) else "")

    def _said(self) -> str:
        if self._output < 0:
            return ""
        size = os.fstat(self._output).st_size
        lines = os.pread(self._output, SAID, max(0, size - SAID)).decode(errors="replace").splitlines()
        return printable("; ".join(line.strip() for line in lines[-LINES:] if line.strip()))

    def end(self, patience: float = PATIENCE) -> None:
        """End it and all that it has started in its session: it is asked first. A second call does nothing."""
        if self._handle < 0:
            return
        # It is not reaped before the last signal, so its number stays its group's.
        if patience and not self.ended():
            self._signal(signal.SIGTERM)
            self.ended(patience)
        self._signal(signal.SIGKILL)
        self._process.wait()
        self._forget()

    def _signal(self, number: int) -> None:
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):
            pass  # it has ended, or is another user by now: the end of its connection is left

    def _forget(self) -> None:
        for descriptor in (self._handle, self._output):
            if descriptor >= 0:
                os.close(descriptor)
        self._handle = self._output = -1
