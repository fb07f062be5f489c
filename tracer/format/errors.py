"""This package's error, and its warning."""

import os

from vmspec.host.printable import PrintableError


class TraceError(PrintableError):
    """A trace cannot be written, read or recovered. The message says what happened, where, and what to do."""


class TraceWarning(UserWarning):
    """A trace was read, but with a problem; the message says which."""


def reason(error: Exception) -> str:
    """An error in a few words: the system's own if there are any."""
    number = getattr(error, "errno", None)
    return os.strerror(number) if number else f"{type(error).__name__}: {error}"
