"""Threads that can be waited for, whatever interrupts the wait."""

import errno
import sys
import threading
from collections.abc import Callable


class ThreadError(OSError):
    """The host starts no more threads."""

    def __init__(self) -> None:
        super().__init__(errno.EAGAIN, "it starts no more threads; allow more with ulimit -u or the cgroup's pids.max")


class Worker(threading.Thread):
    """A thread that does ``work``, which is given or a subclass's own; it does not keep the process from ending.

    ``Thread.join()`` will not do: in Python before 3.13 a KeyboardInterrupt out of it leaves a running thread marked as
    ended, and what the thread uses would be closed under it.
    """

    def __init__(self, name: str, work: Callable[[], None] | None = None) -> None:
        _make_hooks()
        super().__init__(name=name, daemon=True)
        self._work = work
        self._entered, self._done = threading.Event(), threading.Event()

    def start(self) -> None:
        """Start the thread. Raises ThreadError."""
        try:
            super().start()
        except RuntimeError as error:
            raise ThreadError from error
        except BaseException:
            self._entered.wait(0.1)  # an interrupt may have come while it was on its way
            raise

    def work(self) -> None:
        """What the thread does."""
        if self._work is not None:
            self._work()

    def run(self) -> None:
        """Work, and say when that is done."""
        self._entered.set()
        try:
            self.work()
        finally:
            self._done.set()

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self.ident is not None and not self._done.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for its end, at most ``timeout`` seconds; whether it has ended, or was never started."""
        if self.running:
            self._done.wait(timeout)
        return not self.running

    def outlast(self) -> None:
        """Wait for its end through every KeyboardInterrupt; the last of them is raised then."""
        interrupt: KeyboardInterrupt | None = None
        while self.running:
            try:
                self._done.wait()
            except KeyboardInterrupt as error:  # impatience does not make a thread end
                interrupt = error
        if interrupt is not None:
            raise interrupt


def _make_hooks() -> None:
    """Have what Python's threads look for as they are made, which a device of the user's own may have deleted."""
    if not hasattr(sys, "stderr"):
        sys.stderr = None
    if getattr(sys, "excepthook", None) is None:
        sys.excepthook = sys.__excepthook__
    if getattr(threading, "excepthook", None) is None:
        threading.excepthook = threading.__excepthook__
