"""Threads whose end can be waited for, even if the wait is interrupted."""

import errno
import sys
import threading
from collections.abc import Callable


class ThreadError(OSError):
    """The host starts no more threads."""

    def __init__(self) -> None:
        super().__init__(errno.EAGAIN, "it starts no more threads; allow more with ulimit -u or the cgroup's pids.max")


class Worker(threading.Thread):
    """A thread that runs ``work``, given or a subclass's own; it does not keep the process from ending.

    ``Thread.join()`` is not enough: before Python 3.13, a KeyboardInterrupt in it leaves a running thread marked as
    ended, and what the thread uses would be closed while it runs.
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
            self._entered.wait(0.1)  # an interrupt may have come while it started
            raise

    def work(self) -> None:
        """The thread's work."""
        if self._work is not None:
            self._work()

    def run(self) -> None:
        """Work, then signal the end."""
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
        """Wait for its end, at most ``timeout`` seconds; return whether it has ended, or was never started."""
        if self.running:
            self._done.wait(timeout)
        if self.running:
            return False
        self._leave()
        return True

    def outlast(self) -> None:
        """Wait for its end through every KeyboardInterrupt; raise the last of them then."""
        interrupt: KeyboardInterrupt | None = None
        while self.running:
            try:
                self._done.wait()
            except KeyboardInterrupt as error:  # a second Ctrl-C does not make a thread end
                interrupt = error
        self._leave()
        if interrupt is not None:
            raise interrupt

    def _leave(self) -> None:
        """Let the host have its stack back, which it keeps from Python 3.13 on until the thread is joined."""
        if self._done.is_set() and threading.current_thread() is not self:
            self.join()


def _make_hooks() -> None:
    """Restore the hooks that Python looks up when it makes a thread; a user's device may have deleted them."""
    if not hasattr(sys, "stderr"):
        sys.stderr = None
    if getattr(sys, "excepthook", None) is None:
        sys.excepthook = sys.__excepthook__
    if getattr(threading, "excepthook", None) is None:
        threading.excepthook = threading.__excepthook__
