"""The debugger of a run: one that waits for gdb before the guest runs, or one for clients of the run's control."""

from collections.abc import Callable

from runner.control.gdb.address import Address, listening
from runner.control.gdb.conversation import Client
from runner.control.gdb.debugger import Debugger
from runner.control.gdb.machinetarget import MachineTarget
from runner.control.gdb.monitor import Monitor
from runner.control.subject import Subject
from runner.machine.machine import Machine


def waiting(
    subject: Subject,
    where: str | tuple[int, int],
    notice: Callable[[str], None],
    target: Callable[[Machine, Callable[[str], str], Callable[[str], None]], MachineTarget] = MachineTarget,
) -> Debugger:
    """A debugger at an address, or for the client with two descriptors. Raises ValueError if it is no address, and
    HostError if nothing can listen there."""
    monitor = Monitor(subject)
    if not isinstance(where, str):
        return Debugger(subject.machine, Client(*where), monitor, notice, target)
    listener, name = listening(Address.of(where))
    notice(f"waiting for gdb: target remote {name}")
    return Debugger(subject.machine, listener, monitor, notice, target)


def attachable(subject: Subject, notice: Callable[[str], None]) -> Debugger:
    """A debugger for clients that :meth:`Debugger.bring` has."""
    return Debugger(subject.machine, None, Monitor(subject), notice)
