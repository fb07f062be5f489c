"""All inputs of a machine pass here. Everything else that a guest sees follows from the guest itself.

Inputs are the host's bytes (its random ones too), timers, commands to devices, and what a thread does that runs no
vCPU. Each is stamped with its place in the guest's run. Its effect happens there.
"""

import os
import threading
from collections.abc import Callable, Sequence

from runner.devices.services import Interrupt, MessageInterrupt
from runner.recording.rings import Rings
from vmspec.trace.inputs import LOWERED, NOBODY, PULSED, RAISED, Input, Kind


class Inputs:
    """Admits inputs. ``keep``, if set, is called with each. ``clock`` returns virtual time; ``comes`` is called before
    the host's bytes and commands are stamped with it.

    The place is the time, and the number of exits that the first vCPU has completed: devices interrupt that vCPU,
    unless the guest routes their interrupts to others.
    """

    def __init__(self) -> None:
        self.keep: Callable[[Input], None] | None = None
        self.clock: Callable[[], int] = lambda: 0
        self.comes: Callable[[], None] = lambda: None
        self._rings: Rings | None = None
        self._vcpus: dict[int | None, int] = {}  # by thread
        self._lock = threading.Lock()  # inputs are kept in the order of their stamps

    def begin(self, rings: Rings, threads: Sequence[threading.Thread]) -> None:
        """Count exits by ``rings`` from now on; ``threads`` run the vCPUs."""
        self._rings = rings
        self._vcpus = {thread.ident: vcpu for vcpu, thread in enumerate(threads)}

    def admit(
        self, kind: Kind, effect: Callable[[], None], device: int = NOBODY, value: int = 0, data: bytes = b""
    ) -> None:
        """Stamp an input, then let it have its effect.

        An interrupt or an end that comes from a vCPU's own thread follows from what the guest did, so it is no input.
        The host's bytes and commands are, in any thread.
        """
        outside = kind in ("bytes", "command")
        if outside:
            self.comes()
        if self.keep is not None and (outside or threading.get_ident() not in self._vcpus):
            with self._lock:
                self.keep(Input(*self.place(), kind, device, value, data, self.clock()))
        effect()

    def random(self, device: int, size: int) -> bytes:
        """So many random bytes of the host's, for a device."""
        data = os.urandom(size)
        self.admit("bytes", lambda: None, device, data=data)
        return data

    def place(self) -> tuple[int, int, int]:
        """Time, vCPU and exits now; before time 0 all are 0."""
        if self._rings is None:
            return 0, 0, 0
        seq = self._rings.counters("head")[0]  # before the time, because the guest continues meanwhile
        return self._rings.elapsed(), 0, seq


class AdmittedInterrupt:
    """A device's interrupt, admitted as an input. Writes to its eventfd are not seen here."""

    def __init__(self, interrupt: Interrupt, inputs: Inputs, device: int) -> None:
        self._interrupt = interrupt
        self._inputs = inputs
        self._device = device

    def set(self, level: bool) -> None:
        """Drive the line."""
        value = RAISED if level else LOWERED
        self._inputs.admit("interrupt", lambda: self._interrupt.set(level), self._device, value)

    def pulse(self) -> None:
        """An edge, or a message."""
        self._inputs.admit("interrupt", self._interrupt.pulse, self._device, PULSED)

    def eventfd(self) -> int | None:
        """The interrupt's own."""
        return self._interrupt.eventfd()


class AdmittedMessage(AdmittedInterrupt):
    """The same for a message-signalled interrupt."""

    def __init__(self, interrupt: MessageInterrupt, inputs: Inputs, device: int) -> None:
        super().__init__(interrupt, inputs, device)
        self._message = interrupt

    def route(self, address: int, data: int) -> None:
        """Choose the message; that interrupts nobody yet."""
        self._message.route(address, data)
