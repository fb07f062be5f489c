"""The errors of KVM calls."""

import errno
import os

from vmspec.host.printable import PrintableError


class KvmError(OSError):
    """A KVM call failed. The error says which call, at which step of the plan, and which capability the call needs, if
    any."""

    def __init__(self, number: int, ioctl: str, capability: str | None = None) -> None:
        super().__init__(number, os.strerror(number))
        self.ioctl = ioctl
        self.capability = capability
        self.step: int | None = None  # index into Plan.calls, set by the machine

    def __str__(self) -> str:
        text = f"{self.ioctl} failed: {self.strerror}"
        if self.step is not None:
            text += f" (step {self.step + 1} of the plan)"
        if self.capability is not None:
            text += f"; it needs {self.capability}"
        if self.errno == errno.EMFILE:
            text += "; allow more of them with ulimit -n"
        return text


class HostError(PrintableError):
    """The host cannot run the machine; the message says why and what to do."""
