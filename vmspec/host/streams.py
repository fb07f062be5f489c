"""Standard streams: closed streams, readers that have gone, unencodable characters, the terminal's width."""

import codecs
import errno
import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TextIO

from vmspec.host.printable import printable

STREAMS_LAST = 2  # the number of standard error, the last standard stream
BROKEN_PIPE = 141  # the exit status that a shell reports for a command that SIGPIPE ended
NARROWEST, USUAL, WIDEST = 20, 80, 10_000  # columns
# Characters of tables and cut texts that 8-bit locales lack, and their replacements.
ASCII = {"\u2026": "~", "\u2500": "-", "\u2502": "|", "\ufffd": "?"}


def open_streams() -> None:
    """Make standard output and error ready for printing.

    Text printed to a stream that was closed from the start is discarded; Python has None in its place. Characters that
    the locale cannot encode, and bytes of file names that are not text, are printed as escapes.
    """
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - open to the end
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115
    codecs.register_error("vmrun.printable", _encodable)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not if a caller has replaced it
            stream.reconfigure(errors="vmrun.printable")


@contextmanager
def held() -> Iterator[tuple[int | None, int | None, int | None]]:
    """Keep the standard streams unchanged after the block, in which a device may close or replace them.

    Yields the block's own descriptors of standard input, output and error, None for a closed one: its number may soon
    be another file's. Raises OSError.
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
    """The same file under a number that no standard stream has, for use longer than :func:`held`: a device may have
    closed a standard stream, whose number the next file gets. Raises OSError."""
    if descriptor > STREAMS_LAST:
        return descriptor
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, STREAMS_LAST + 1)
    finally:
        os.close(descriptor)


def _copy(stream: object) -> int | None:
    """A descriptor of our own for the file of a standard stream, None if it has none."""
    try:
        return os.dup(stream.fileno())  # type: ignore[attr-defined]
    except OSError as error:
        if error.errno == errno.EMFILE:
            raise
    except (AttributeError, ValueError):
        pass  # closed, or a caller's own
    return None


def _restored(stream: TextIO | None, copy: int | None, name: str) -> TextIO | None:
    """The stream for a stream's place now: itself if it is still usable, with its descriptor restored if that was
    closed; a new one if it was closed or detached."""
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
    """A stream to replace a closed one."""
    if descriptor is None:
        return open(os.devnull, "w")  # noqa: PTH123 - open to the end
    return open(os.dup(descriptor), "w", buffering=1)  # noqa: PTH123


def _encodable(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    text = "".join(ASCII.get(char) or printable(char) for char in error.object[error.start : error.end])
    return text if text.isascii() else text.encode("ascii", "backslashreplace").decode(), error.end


def columns() -> int | None:
    """The width of a line on standard output: COLUMNS, else the terminal's.

    None without both: a pipe and a file take lines of any length. Values below 20 count as 20; a terminal that does not
    know its size counts as 80.
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
    """Discard the buffer of a stream: Python would flush it at its end, and report the failure."""
    with suppress(OSError, ValueError):  # it may have no descriptor
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
