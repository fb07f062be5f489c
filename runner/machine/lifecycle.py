"""The states of a machine, and where all that acts on its guest stands still while it is paused."""

import threading
import time
from collections.abc import Sequence
from enum import StrEnum

from runner.loop import Latch
from runner.machine.bus import Buses
from runner.machine.vcpu import Gate, VcpuThread
from vmspec.host.threads import Worker

LOOK = 0.1  # seconds after which a wait looks again whether the run has ended


class State(StrEnum):
    """What a machine is. Each state leads to ``ENDED``, and that one to none."""

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
    """What was asked of a machine is not possible in its state."""


class Lifecycle:
    """The state of a machine. Whoever changes it holds ``lock``, and does under it what belongs to the change."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.state = State.CREATED

    def enter(self, state: State) -> None:
        """Change the state; the lock is held. Raises LifecycleError."""
        if state not in NEXT[self.state]:
            raise LifecycleError(f"a machine that is {self.state} cannot become {state}")
        self.state = state


class Barrier:
    """Where a machine's vCPUs and device thread stand still. It is closed at first, for vCPUs that have yet to enter
    the guest. Waits end early where ``stopping`` is set."""

    def __init__(self, stopping: Latch) -> None:
        self.gate = Gate()
        self._stopping = stopping
        self._go_on = threading.Event()  # for the device thread

    def close(self, vcpus: Sequence[VcpuThread]) -> None:
        """Make the vCPUs leave the guest and stand still."""
        self._go_on = threading.Event()
        self.gate.close()
        for thread in vcpus:
            thread.kick()

    def open(self) -> None:
        """Let all go on."""
        self._go_on.set()
        self.gate.open()

    def vcpus(self, vcpus: Sequence[VcpuThread], latest: float) -> VcpuThread | None:
        """Wait until they stand still; returns one that does not by the time ``latest``."""
        for thread in vcpus:
            while not thread.stands() and not self._stopping.is_set():
                if time.monotonic() > latest:
                    return thread
        return None

    def devices(self, buses: Buses, thread: Worker, latest: float) -> Worker | None:
        """Make the device ``thread`` hand over what is queued and stand still, and wait for it; returns it where it
        does not by the time ``latest``. The vCPUs stand still by now: one may have waited for it in a device."""
        stood, go_on = threading.Event(), self._go_on

        def stand() -> None:
            buses.flush()
            stood.set()
            go_on.wait()

        buses.call(stand)
        while not stood.wait(LOOK) and not self._stopping.is_set():
            if time.monotonic() > latest:
                return thread
        return None
