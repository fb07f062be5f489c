"""An executor of processes that outlives its workers: one that is killed fails its own call, and the next call gets a
new one. (`ProcessPoolExecutor` breaks as a whole.) A process is started once and pays for its imports once."""

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from runner.recording.channel import Channel
from vmspec.host.threads import Worker as Thread

T = TypeVar("T")

MODULE = "runner.workers.program"
ROOT = Path(__file__).parents[2]  # the folder of the packages
PATIENCE = 15.0  # seconds that a worker may take to end; it has less itself
INTERVAL = 1000  # ms
SAID = 1 << 16  # bytes of a worker's output that are read


class WorkerLostError(Exception):
    """The process that made a call ended before it had the result."""


class Process:
    """A worker process. Its output goes to a file without a name, whose last line explains its end. Raises OSError."""

    def __init__(self) -> None:
        self._said = os.memfd_create("worker", os.MFD_CLOEXEC)
        self._channel, theirs = Channel.pair()
        # A session of its own: Ctrl-C on the terminal is for the process that started it.
        command = [sys.executable, "-P", "-m", MODULE, str(theirs.fileno())]
        path = os.pathsep.join([*filter(None, sys.path), str(ROOT)])
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=self._said, stderr=self._said, pass_fds=(theirs.fileno(),),
                start_new_session=True, env=os.environ | {"PYTHONPATH": path},
            )  # fmt: skip
        except BaseException:
            self._channel.close()
            os.close(self._said)
            raise
        finally:
            theirs.close()

    def call(self, values: tuple[Any, ...], wanted: Callable[[], bool] | None = None) -> Any:
        """The result of a call. ``wanted`` is asked every second whether anybody still wants it; if not, the process is
        asked to end. Raises what it raised; WorkerLostError if the process has ended."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self._channel.send({"call": values})
        answer = select.poll()
        answer.register(self._channel, select.POLLIN)
        while wanted is not None and not answer.poll(INTERVAL):
            if not wanted():
                self.stop()
                wanted = None
        if (message := self._channel.receive()) is None:
            raise WorkerLostError(self._fate())
        if "error" in message.values:
            raise message.values["error"]
        return message.values["value"]

    def _fate(self) -> str:
        code = self._wait()
        if code < 0:
            return f"its worker process was killed by {_name(-code)}"
        text = os.pread(self._said, SAID, max(0, os.fstat(self._said).st_size - SAID)).decode(errors="replace")
        last = next((line for line in reversed(text.split("\n")) if line.strip()), "")
        return f"its worker process ended with status {code}" + (f": {last}" if last else "")

    def stop(self) -> None:
        """Ask it to end; the call that it makes ends as by Ctrl-C."""
        self._channel.finish()

    def close(self) -> None:
        """Let it end, and wait for that."""
        self.stop()
        self._wait()
        self._channel.close()
        os.close(self._said)

    def _wait(self) -> int:
        try:
            return self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


def _name(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"


class Workers(Executor):
    """Up to ``count`` worker processes, each started when there is a call for it. Functions and arguments are pickled;
    the functions are importable."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._calls: SimpleQueue[tuple[Future[Any], tuple[Any, ...]] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._threads: list[Thread] = []
        self._processes: list[Process] = []  # those that are alive
        self._open = 0  # calls that have no result yet
        self._over = self._stopped = False

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        """Make a call in a worker. Its future fails with WorkerLostError if the worker dies."""
        future: Future[T] = Future()
        with self._lock:
            if self._over:
                raise RuntimeError("cannot make a call after the shutdown")
            self._open += 1
            if self._open > len(self._threads) < self._count:
                thread = Thread("worker", self._serve)
                thread.start()
                self._threads.append(thread)
            self._calls.put((future, (fn, args, kwargs)))
        return future

    def _serve(self) -> None:
        process: Process | None = None
        while (taken := self._calls.get()) is not None:
            future, call = taken
            if future.set_running_or_notify_cancel():
                try:
                    process = process or self._started()
                    future.set_result(process.call(call))
                except WorkerLostError as error:
                    self._ended(process)
                    process = None
                    future.set_exception(error)
                except Exception as error:
                    future.set_exception(error)
            with self._lock:
                self._open -= 1
        self._ended(process)

    def _started(self) -> Process:
        with self._lock:
            if self._stopped:
                raise WorkerLostError("it was ended before it began")
            self._processes.append(process := Process())
        return process

    def _ended(self, process: Process | None) -> None:
        if process is not None:
            with self._lock:
                self._processes.remove(process)
            process.close()

    def stop(self) -> None:
        """End what runs, as by Ctrl-C, and cancel the rest. The results of what has ended so are still set."""
        with self._lock:
            self._over = self._stopped = True
            for process in self._processes:
                process.stop()
        self._cancel()

    def _cancel(self) -> None:
        with suppress(Exception):
            while (taken := self._calls.get_nowait()) is not None:
                taken[0].cancel()
                with self._lock:
                    self._open -= 1

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; wait until those that were taken are made, and the processes have ended."""
        with self._lock:
            self._over = True
        if cancel_futures:
            self._cancel()
        for _ in self._threads:
            self._calls.put(None)
        if wait:
            for thread in self._threads:
                thread.outlast()
