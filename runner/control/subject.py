"""A run, as the verbs see it."""

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from runner.machine.machine import Machine
from runner.recording.rings import Rings

if TYPE_CHECKING:
    from runner.control.consoles import Consoles


class Subject(NamedTuple):
    """A run under its name. ``symbol`` returns the name of the guest's code at an address, if the run knows it.
    ``debug`` takes a client's connection for the debugger, ``debugged`` returns whether that has one. ``consoles`` is
    None if no client can ask for one."""

    name: str
    machine: Machine
    rings: Rings
    symbol: Callable[[int], str | None] = lambda address: None
    debug: Callable[[socket.socket], None] = socket.socket.close
    debugged: Callable[[], bool] = lambda: True
    consoles: "Consoles | None" = None
