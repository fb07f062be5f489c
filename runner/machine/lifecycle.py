"""The states of a machine, and the barrier at which its vCPUs and device thread wait while it is paused."""

import threading
import time
from collections.abc import Sequence
from enum import StrEnum

from runner.loop import Latch
from runner.machine.bus import Buses
from runner.machine.vcpu import Gate, VcpuThread
from vmspec.host.threads import Worker

LOOK = 0.1  # seconds after which a wait checks again whether the run has ended


class State(StrEnum):
    """Any state can be followed by ``ENDED``, which is final."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    ENDED = "ended"


NEXT = {
    State.CREATED: {State.RUNNING, State.ENDED},
    State.RUNNING: {State.PAUSED, State.ENDED},
    State.PAUSED: {State.RUNNING, State.ENDED},
    State.ENDED: set[State](),
}


class LifecycleError(RuntimeError):
    """The machine's state does not allow the request."""


class Lifecycle:
    """The state of a machine. A caller holds ``lock`` for the change and for everything that belongs to it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.state = State.CREATED

    def enter(self, state: State) -> None:
        """Change the state; the lock is held. Raises LifecycleError."""
        if state not in NEXT[self.state]:
            raise LifecycleError(f"a machine that is {self.state} cannot become {state}")
        self.state = state


class Barrier:
    """The barrier at which a machine's vCPUs and device thread wait. It is closed at first: vCPUs wait there before
    they enter the guest. If ``stopping`` is set, waits end early."""

    def __init__(self, stopping: Latch) -> None:
        self.gate = Gate()
        self._stopping = stopping
        self._go_on = threading.Event()  # for the device thread

    def close(self, vcpus: Sequence[VcpuThread]) -> None:
        """Make the vCPUs leave the guest and wait."""
        self._go_on = threading.Event()
        self.gate.close()
        for thread in vcpus:
            thread.kick()

    def open(self) -> None:
        """Release all threads."""
        self._go_on.set()
        self.gate.open()

    def vcpus(self, vcpus: Sequence[VcpuThread], latest: float) -> VcpuThread | None:
        """Wait until all of them wait at the gate; returns one that does not by the time ``latest``."""
        for thread in vcpus:
            while not thread.stands() and not self._stopping.is_set():
                if time.monotonic() > latest:
                    return thread
        return None

    def devices(self, buses: Buses, thread: Worker, latest: float) -> Worker | None:
        """Make the device ``thread`` deliver what is queued and wait; returns it if it does not by ``latest``. The
        vCPUs have stopped before, because one of them may have waited for this thread in a device."""
        stood, go_on = threading.Event(), self._go_on

        def stand() -> None:
            buses.hold()
            stood.set()
            go_on.wait()
            if not self._stopping.is_set():  # a run that ended in a pause does nothing more for its guest
                buses.release()

        buses.call(stand)
        while not stood.wait(LOOK) and not self._stopping.is_set():
            if time.monotonic() > latest:
                return thread
        return None
