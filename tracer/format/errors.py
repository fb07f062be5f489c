"""The one error of this package, and its one warning."""

import os

from vmspec.host.printable import PrintableError


class TraceError(PrintableError):
    """A trace cannot be written, read or recovered. The message says what, where, and what can be done."""


class TraceWarning(UserWarning):
    """A trace was read, and something about it is to be known: the message says what."""


def reason(error: Exception) -> str:
    """An error in a few words: the system's own where there is one."""
    number = getattr(error, "errno", None)
    return os.strerror(number) if number else f"{type(error).__name__}: {error}"
