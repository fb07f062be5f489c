"""Signals: C catches them, so that no exception of theirs comes between two lines of Python. A run looks at what came.

Before the guest runs a signal ends the start, and nothing is left behind. While it runs, the run ends in order. Once
it has ended, the result stands.
"""

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from runner.native import _native

lib = _native.lib
ffi = _native.ffi

# The signal that interrupts KVM_RUN. The highest real-time signal is nobody else's in practice.
KICK = signal.SIGRTMAX
# Signals that end a process which does not catch them, asked for by somebody (signal(7)).
ENDING = (
    signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGVTALRM,
    signal.SIGPROF, signal.SIGXCPU, signal.SIGIO, signal.SIGPWR, 16,  # SIGSTKFLT, which Python has no name for
    *range(signal.SIGRTMIN, KICK),
)  # fmt: skip
# Those that end it there and then: SIGQUIT is meant so, the rest tell of a fault of its own.
FATAL = (
    signal.SIGQUIT, signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP,
    signal.SIGSYS,
)  # fmt: skip


def catch_all() -> None:
    """From now on, until the process ends, whatever asks it to end asks for the end of the run: for the command."""
    lib.signals.asked = 0
    for number in ENDING:
        lib.signals_catch(number, lib.SIGNAL_ASKS)


@contextmanager
def caught(uses: Iterable[tuple[int, int]]) -> Iterator[list[int]]:
    """Catch signals, each for a use, for as long as the block takes; yields those of them that were not caught yet."""
    numbers = [number for number, use in uses if lib.signals_catch(number, use)]
    try:
        yield numbers
    finally:
        for number in numbers:
            lib.signals_release(number)


@contextmanager
def watched() -> Iterator[None]:
    """A run is under way here. In a program of the user's own, which has called :func:`runner.run`, it takes Ctrl-C
    for as long as that would raise KeyboardInterrupt, and no other signal."""
    mine = _here() and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with caught([(signal.SIGINT, lib.SIGNAL_ASKS)] if mine else []) as numbers:
        if numbers:
            lib.signals.asked = 0
        yield


def asked() -> bool:
    """Whether a signal has asked for the end of the run that is under way in this thread, the main one."""
    return bool(lib.signals.asked) and _here()


@contextmanager
def telling(event: int) -> Iterator[None]:
    """Write to an eventfd when a signal asks for the end."""
    if not _here():
        yield
        return
    lib.signals.event = event
    try:
        yield
    finally:
        lib.signals.event = -1


@contextmanager
def impatient() -> Iterator[None]:
    """What the block does may never come back: a second signal is answered as if it were not caught."""
    if not _here():
        yield
        return
    lib.signals.insisted, lib.signals.impatient = 0, 1
    try:
        yield
    finally:
        lib.signals.impatient = 0


def insisted() -> bool:
    """Whether a second signal has come to such a block: a KeyboardInterrupt out of it is the user's."""
    return bool(lib.signals.insisted) and _here()


def leave(path: Path | None) -> None:
    """Have a file removed, or none, where a signal ends the process."""
    lib.signals_leave(ffi.NULL if path is None else bytes(path.absolute()))


def _here() -> bool:
    return threading.current_thread() is threading.main_thread()
