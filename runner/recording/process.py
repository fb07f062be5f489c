"""The recorder process: one for all runs of this VMM process. It starts before the first guest and ends with the VMM.

It is a process because importing and running pyarrow would keep the interpreter from the vCPUs. It also outlives a VMM
that is killed: it writes what was published, and closes the trace. Its program is :mod:`runner.recording.recorder`.
"""

import atexit
import errno
import fcntl
import os
import signal
import sys
import threading
import weakref
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from runner.native import _native
from runner.recording.channel import Channel
from vmspec.host.streams import aside
from vmspec.host.threads import ThreadError

ffi = _native.ffi
lib = _native.lib

MODULE = "runner.recording.recorder"
ROOT = Path(__file__).parents[2]  # the folder of the packages
CHANNEL = 3  # its descriptor of the channel, after the standard streams
SAID = 1 << 16  # bytes of its output that are read


class RecorderProcess:
    """The process, from :meth:`start` on. Runs can be handed over before. Raises OSError."""

    def __init__(self) -> None:
        self.pid = 0
        self._lock = threading.Lock()
        self._status: int | None = None  # from waitpid, once it has ended; -1: somebody else has waited for it
        self._runs: weakref.WeakSet[Channel] = weakref.WeakSet()
        # Its standard streams are a file, so that nobody has to read them. It prints only errors.
        self._streams = aside(os.memfd_create("recorder", os.MFD_CLOEXEC))
        try:
            self._channel, self._theirs = Channel.pair()
        except BaseException:
            os.close(self._streams)
            raise

    def start(self) -> None:
        """Start it. Raises OSError; ThreadError if the host starts no more."""
        if not sys.executable:
            raise OSError(errno.ENOENT, "Python does not know its own program (sys.executable)")
        # Above the descriptors that they become.
        fds = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, CHANNEL + 1) for fd in (self._streams, self._theirs.fileno())]
        try:
            arguments, environment = _strings([sys.executable, "-P", "-m", MODULE]), _strings(_environment())
            pid = int(lib.process_spawn(os.fsencode(sys.executable), arguments[0], environment[0], *fds))
        finally:
            for fd in fds:
                os.close(fd)
            self._theirs.close()
        if pid == -errno.EAGAIN:
            raise ThreadError
        if pid < 0:
            raise OSError(-pid, os.strerror(-pid), sys.executable)
        self.pid = pid

    def begin(self, values: dict[str, Any], descriptors: Sequence[int]) -> Channel:
        """Hand a run over; return the channel of the run. Raises OSError, BrokenPipeError if the process has gone."""
        ours, theirs = Channel.pair()
        try:
            self._channel.send(values, [theirs.fileno(), *descriptors])
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._runs.add(ours)
        return ours

    def fate(self) -> str:
        """How the process ended; waits for its end and reaps it. Call it once one of its channels has ended."""
        status = self._wait()
        if status < 0:
            return "has ended"
        code = os.waitstatus_to_exitcode(status)
        if code < 0:
            return f"was killed by {_name(-code)}"
        return f"ended with status {code}" + (f": {said}" if (said := self._said()) else "")

    def _wait(self) -> int:
        with self._lock:
            if self._status is None:
                try:
                    self._status = os.waitpid(self.pid, 0)[1]
                except ChildProcessError:  # this program waits for all its children elsewhere
                    self._status = -1
            return self._status

    def _said(self) -> str:
        """The last line that it printed."""
        size = os.fstat(self._streams).st_size
        text = os.pread(self._streams, SAID, max(0, size - SAID)).decode(errors="replace")
        return next((line for line in reversed(text.split("\n")) if line.strip()), "")

    def close(self) -> None:
        """Let it end, and wait for that."""
        self._channel.close()
        self._theirs.close()
        if self.pid:
            self._wait()
        os.close(self._streams)

    def forget(self) -> None:
        """Drop it in a fork of the VMM: channels held open there would never seem to end."""
        self._channel.close()
        for run in self._runs:
            run.close()


def _environment() -> list[str]:
    """This process's environment, with its import path: -P excludes the current directory."""
    path = os.pathsep.join([*filter(None, sys.path), str(ROOT)])
    # Arrow's own allocator keeps freed memory for the next use.
    values = os.environ | {"PYTHONPATH": path, "ARROW_DEFAULT_MEMORY_POOL": "system"}
    return [f"{key}={value}" for key, value in values.items()]


def _strings(texts: Sequence[str]) -> tuple["_native.Array[_native.Pointer[_native.Char]]", Sequence[object]]:
    """A NULL-terminated array of C strings, and the objects that keep them alive."""
    kept = [ffi.new("char[]", os.fsencode(text)) for text in texts]
    return ffi.new("char *[]", [*kept, ffi.NULL]), kept


def _name(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"


_lock = threading.Lock()
_process: RecorderProcess | None = None


def begin(values: dict[str, Any], descriptors: Sequence[int]) -> tuple[RecorderProcess, Channel]:
    """Hand a run over to the recorder, and start the recorder if there is none. Raises OSError."""
    global _process  # noqa: PLW0603 (one for all runs)
    with _lock:
        if _process is not None:
            try:
                return _process, _process.begin(values, descriptors)
            except ConnectionError:  # somebody has killed it since
                _process.close()
                _process = None
        started = RecorderProcess()
        try:
            channel = started.begin(values, descriptors)
            started.start()
        except BaseException:
            started.close()
            raise
        _process = started
        return started, channel


def end() -> None:
    """Let the recorder end, and wait for that. The process calls this at its own end."""
    global _process  # noqa: PLW0603
    with _lock:
        if _process is not None:
            _process.close()
            _process = None


def _forked() -> None:
    global _process, _lock  # noqa: PLW0603
    _lock = threading.Lock()
    if _process is not None:
        _process.forget()
        _process = None


atexit.register(end)
os.register_at_fork(after_in_child=_forked)
