"""The main loop: one thread waits for descriptors, timers and wake-ups from other threads."""

import os
import select
import threading
import time
from collections.abc import Callable

LONGEST = 86400.0  # seconds of one wait: epoll_wait(2) counts milliseconds in an int


class Bell:
    """An eventfd that is readable after :meth:`ring`. Any thread may ring it; after :meth:`close` that does nothing."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._lock = threading.Lock()

    def ring(self) -> None:
        """Wake the thread that waits for it."""
        with self._lock:
            if self.fd >= 0:
                os.eventfd_write(self.fd, 1)

    def hush(self) -> None:
        """Make it unreadable again; called by the thread that waits for it."""
        os.eventfd_read(self.fd)

    def close(self) -> None:
        """Close the descriptor."""
        with self._lock:
            os.close(self.fd)
            self.fd = -1


class Latch:
    """An event that is set once and stays set. Its descriptor is readable from then on."""

    def __init__(self) -> None:
        self._set = False
        self._bell = Bell()

    def set(self) -> None:
        """Set it."""
        self._set = True
        self._bell.ring()

    def is_set(self) -> bool:
        """Whether it has been set."""
        return self._set

    def fileno(self) -> int:
        """The descriptor to wait for."""
        return self._bell.fd

    def close(self) -> None:
        """Close the descriptor; no thread may wait for it any more."""
        self._bell.close()


class Loop:
    """An epoll. One thread calls :meth:`turn` repeatedly; any thread may call the rest at any time.

    That thread makes all callbacks, which must not wait for anything.
    """

    def __init__(self) -> None:
        self._bell = Bell()
        try:
            self._epoll = select.epoll()
        except OSError:
            self._bell.close()
            raise
        self._epoll.register(self.event, select.EPOLLIN)
        self._watched: dict[int, Callable[[], None]] = {}
        self._timers: dict[Callable[[], None], float] = {}  # when each is due, on the monotonic clock
        self._woken: list[Callable[[], None]] = []
        self._turner = 0  # the thread

    @property
    def event(self) -> int:
        """An eventfd; writing to it makes :meth:`turn` return. For signal handlers."""
        return self._bell.fd

    def wake(self) -> None:
        """Make :meth:`turn` return."""
        self._bell.ring()

    def each_wake(self, woken: Callable[[], None]) -> None:
        """From now on call ``woken`` after each wake-up, from any thread."""
        self._woken.append(woken)

    def forget(self, woken: Callable[[], None]) -> None:
        """Undo :meth:`each_wake`."""
        self._woken.remove(woken)

    def watch(self, fd: int, ready: Callable[[], None], write: bool = False) -> None:
        """Call ``ready`` whenever ``fd`` is readable or at its end; with ``write``, once it can be written instead.
        Raises PermissionError if epoll cannot wait for it, as for a regular file."""
        if fd not in self._watched:
            self._epoll.register(fd, select.EPOLLOUT if write else select.EPOLLIN)
        self._watched[fd] = ready

    def unwatch(self, fd: int) -> None:
        """Undo :meth:`watch`; does nothing if the descriptor is not watched."""
        if self._watched.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def after(self, seconds: float | None, due: Callable[[], None]) -> None:
        """Call ``due`` once, after that time. It replaces an earlier time; None cancels it."""
        if seconds is None:
            self._timers.pop(due, None)
        else:
            self._timers[due] = time.monotonic() + seconds
            if threading.get_ident() != self._turner:
                self.wake()

    def turn(self) -> None:
        """Wait until something happens, and make the callbacks for it."""
        self._turner = threading.get_ident()
        soonest = min(tuple(self._timers.values()), default=None)
        timeout = LONGEST if soonest is None else min(max(0.0, soonest - time.monotonic()), LONGEST)
        for fd, _ in self._epoll.poll(timeout):
            if fd == self.event:
                self._bell.hush()
                for woken in tuple(self._woken):
                    woken()
            elif (ready := self._watched.get(fd)) is not None:  # unless an earlier callback has cancelled it
                ready()
        now = time.monotonic()
        for due in [due for due, when in tuple(self._timers.items()) if when <= now]:
            if self._timers.pop(due, None) is not None:
                due()

    def close(self) -> None:
        """Close the loop's own descriptors."""
        self._epoll.close()
        self._bell.close()
