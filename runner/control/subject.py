"""A run, as the verbs see it."""

from collections.abc import Callable
from typing import NamedTuple

from runner.machine.machine import Machine
from runner.recording.rings import Rings


class Subject(NamedTuple):
    """A run under its name. ``symbol`` returns the name of the guest's code at an address, if the run knows it."""

    name: str
    machine: Machine
    rings: Rings
    symbol: Callable[[int], str | None] = lambda address: None
