"""Signals: C handlers note them, so that no exception comes between two lines of Python. A run checks what came.

A signal before the guest runs ends the start and leaves nothing behind. While the guest runs, it ends the run in order.
Once the guest has ended, it does not change the result.
"""

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from runner.native import _native

lib = _native.lib
ffi = _native.ffi

# The signal that interrupts KVM_RUN. In practice nothing else uses the highest real-time signal.
KICK = signal.SIGRTMAX
# Signals that ask a process to end, and end it if it does not catch them (signal(7)).
ENDING = (
    signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGVTALRM,
    signal.SIGPROF, signal.SIGXCPU, signal.SIGIO, signal.SIGPWR, 16,  # SIGSTKFLT, which Python has no name for
    *range(signal.SIGRTMIN, KICK),
)  # fmt: skip
# Those that end the process immediately: SIGQUIT by design, the rest after a fault of its own.
FATAL = (
    signal.SIGQUIT, signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP,
    signal.SIGSYS,
)  # fmt: skip


def catch_all() -> None:
    """From now on until the process ends, signals that ask it to end request the end of the run. For the command as a
    process: a signal after the run does not change its status."""
    lib.signals.asked = 0
    for number in ENDING:
        lib.signals_catch(number, lib.SIGNAL_ASKS)


@contextmanager
def all_caught() -> Iterator[None]:
    """The same during the block. For the command in a process that has more to do."""
    lib.signals.asked = 0
    with caught((number, lib.SIGNAL_ASKS) for number in ENDING):
        yield


@contextmanager
def caught(uses: "Iterable[tuple[int, _native.SignalsUse]]") -> Iterator[list[int]]:
    """Catch signals, each for a use, during the block; yield those that were not caught yet."""
    numbers = [number for number, use in uses if lib.signals_catch(number, use)]
    try:
        yield numbers
    finally:
        for number in numbers:
            lib.signals_release(number)


@contextmanager
def watched() -> Iterator[None]:
    """A run is under way here. In a user's own program, which called :func:`runner.run`, it takes Ctrl-C while that
    would raise KeyboardInterrupt, and no other signal."""
    mine = _here() and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with caught([(signal.SIGINT, lib.SIGNAL_ASKS)] if mine else []) as numbers:
        if numbers:
            lib.signals.asked = 0
        yield


def asked() -> bool:
    """Whether a signal has requested the end of the run in this thread, the main one."""
    return bool(lib.signals.asked) and _here()


@contextmanager
def telling(event: int) -> Iterator[None]:
    """Write to an eventfd when a signal requests the end."""
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
    """The block may never return: a second signal has its default effect."""
    if not _here():
        yield
        return
    lib.signals.insisted, lib.signals.impatient = 0, 1
    try:
        yield
    finally:
        lib.signals.impatient = 0


def insisted() -> bool:
    """Whether a second signal has come during such a block. A KeyboardInterrupt out of it comes from the user."""
    return bool(lib.signals.insisted) and _here()


def leave(path: Path | None) -> None:
    """Have a signal that ends the process remove a file; None: no file."""
    lib.signals_leave(ffi.NULL if path is None else bytes(path.absolute()))


def _here() -> bool:
    return threading.current_thread() is threading.main_thread()
