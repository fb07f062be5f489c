"""Standard streams: closed ones, readers that have gone, what the locale cannot encode, how wide the terminal is."""

import codecs
import errno
import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TextIO

from vmspec.host.printable import printable

STREAMS_LAST = 2  # the number of standard error, the last of them
BROKEN_PIPE = 141  # the exit status that a shell reports of a command that SIGPIPE ended
NARROWEST, USUAL, WIDEST = 20, 80, 10_000  # columns
# What tables and cut texts have that 8-bit locales have not, and what stands for it.
ASCII = {"\u2026": "~", "\u2500": "-", "\u2502": "|", "\ufffd": "?"}


def open_streams() -> None:
    """Make standard output and error ready for whatever is printed.

    What is printed to a stream that was closed from the start goes nowhere; Python has None in its place. Characters
    that the locale cannot encode, and bytes of file names that are not text, are printed as escapes.
    """
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - open to the end
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115
    codecs.register_error("vmrun.printable", _encodable)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not where a caller has put its own there
            stream.reconfigure(errors="vmrun.printable")


@contextmanager
def held() -> Iterator[tuple[int | None, int | None, int | None]]:
    """Keep the standard streams as they are, whatever is done to them in the block: a device may close or replace them.

    Yields descriptors of standard input, output and error that are this block's own, None where there is none: the
    number of one that was closed may soon be another file's. Raises OSError.
    """
    streams = {"stdin": sys.stdin, "stdout": sys.stdout, "stderr": sys.stderr}
    with ExitStack() as stack:
        copies: dict[str, int | None] = {}
        for name, stream in streams.items():
            copies[name] = _copy(stream)
            if (copy := copies[name]) is not None:
                stack.callback(os.close, copy)
        try:
            yield copies["stdin"], copies["stdout"], copies["stderr"]
        finally:
            for name, stream in streams.items():
                setattr(sys, name, _restored(stream, copies[name], name))
            open_streams()


def aside(descriptor: int) -> int:
    """The same file under a number that no standard stream has, for one that stays open longer than :func:`held`: a
    device may have closed a standard stream, whose number the next file gets. Raises OSError."""
    if descriptor > STREAMS_LAST:
        return descriptor
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, STREAMS_LAST + 1)
    finally:
        os.close(descriptor)


def _copy(stream: object) -> int | None:
    """A descriptor of our own of what a standard stream is written to or read from, None where that is none."""
    try:
        return os.dup(stream.fileno())  # type: ignore[attr-defined]
    except OSError as error:
        if error.errno == errno.EMFILE:
            raise
    except (AttributeError, ValueError):
        pass  # closed, or a caller's own
    return None


def _restored(stream: TextIO | None, copy: int | None, name: str) -> TextIO | None:
    """What is to stand in a stream's place now: itself where it can still be used, with its descriptor where that was
    closed; one that was closed, or taken apart, is opened anew."""
    try:
        number = stream.fileno() if stream is not None and copy is not None else None
    except (OSError, AttributeError):
        return stream  # a caller's own
    except ValueError:
        return stream if name == "stdin" else _anew(copy)
    if number is not None and copy is not None and not _open(number):
        os.dup2(copy, number)
    return stream


def _open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _anew(descriptor: int | None) -> TextIO:
    """A stream in the place of one that was closed."""
    if descriptor is None:
        return open(os.devnull, "w")  # noqa: PTH123 - open to the end
    return open(os.dup(descriptor), "w", buffering=1)  # noqa: PTH123


def _encodable(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    text = "".join(ASCII.get(char) or printable(char) for char in error.object[error.start : error.end])
    return text if text.isascii() else text.encode("ascii", "backslashreplace").decode(), error.end


def columns() -> int | None:
    """How many columns a line on standard output may have: as COLUMNS says, else as the terminal does.

    None without both: a pipe and a file take lines of any length. What says neither 20 nor more is taken as 20, and a
    terminal that does not know its size as 80.
    """
    given = os.environ.get("COLUMNS", "")
    if given.isascii() and given.isdecimal() and given.strip("0"):
        return max(NARROWEST, min(int(given.lstrip("0")[:6]), WIDEST))
    try:
        wide = os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError, AttributeError):  # no terminal; closed; a caller's own stream
        return None
    return max(NARROWEST, min(wide or USUAL, WIDEST))


def abandon(stream: TextIO) -> None:
    """Let go nowhere what a stream still holds: Python flushes it once more at its end, and would complain."""
    with suppress(OSError, ValueError):  # it may have no descriptor
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
