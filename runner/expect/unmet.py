"""An expectation that a run has not met."""

from pathlib import Path
from typing import NamedTuple

SHOWN = 200  # characters of a guest's line in a message, at most


class Unmet(NamedTuple):
    """``key`` is the expectation's key in the spec, as in ``expect.console[0]``, ``expected`` what it asks for, and
    ``came`` what the run did instead, both in words. ``look`` is a command that shows the place in the trace, or "" if
    there is no trace. As text it is a sentence, safe to print."""

    key: str
    expected: str
    came: str
    look: str = ""

    def __str__(self) -> str:
        return f"{self.key}: expected {self.expected}; {self.came}"


def located(failure: Unmet, trace: Path | None) -> Unmet:
    """The same with the trace's path in its command, which had none."""
    if not failure.look or trace is None:
        return failure._replace(look="")
    import shlex  # late: few runs fail

    return failure._replace(look=f"{failure.look} {shlex.quote(str(trace))}")


def many(count: int, noun: str) -> str:
    """A number of things: 1 exit, 2,000 exits."""
    return f"{count:,} {noun}{'s' * (count != 1)}"
