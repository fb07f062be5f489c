"""The error of control."""

from typing import Literal

from vmspec.host.printable import PrintableError

# What went wrong: the request was no request of the protocol (protocol), its verb or an argument is wrong (verb,
# argument), the machine cannot do it (state), it tried and failed (failed), there is no such machine, or the name is in
# use (name), the machine does not answer or its end of the connection is closed (lost).
Kind = Literal["protocol", "verb", "argument", "state", "failed", "name", "lost"]


class ControlError(PrintableError):
    """A machine cannot be controlled, or did not do what it was asked. ``kind`` is one of :data:`Kind`."""

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
