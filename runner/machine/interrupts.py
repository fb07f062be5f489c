"""Interrupts as devices raise them, through KVM's own interrupt controllers (api.rst: KVM_IRQ_LINE, KVM_IRQFD,
KVM_SET_GSI_ROUTING)."""

import os
import threading
from contextlib import ExitStack

from runner.kvm.errors import HostError
from runner.kvm.system import System
from runner.kvm.vm import IOAPIC, VM, IrqchipRoute, MsiRoute
from vmspec import layout

# KVM's routes after KVM_CREATE_IRQCHIP: a GSI is the IOAPIC's input of that number and, for the first 16, the PICs'
# input too (arch/x86/kvm/irq_comm.c, default_routing).
PINS = tuple(IrqchipRoute(gsi, IOAPIC, gsi) for gsi in range(layout.IOAPIC_PINS)) + tuple(
    IrqchipRoute(gsi, gsi // 8, gsi % 8) for gsi in range(16)
)


class Unconnected:
    """The interrupt of a device that has none, or of a machine without interrupt controllers."""

    def set(self, level: bool) -> None:
        """Do nothing."""

    def pulse(self) -> None:
        """Do nothing."""

    def eventfd(self) -> int | None:
        """None."""
        return None

    def route(self, address: int, data: int) -> None:
        """Do nothing."""


class Line:
    """An input of the interrupt controllers, level or edge as the guest has programmed it."""

    def __init__(self, interrupts: "Interrupts", gsi: int) -> None:
        self._interrupts = interrupts
        self._gsi = gsi
        self._level = False
        self._eventfd: int | None = None

    def set(self, level: bool) -> None:
        """Drive the line; only a change makes a call."""
        if level != self._level:
            self._level = level
            self._interrupts.vm.irq_line(self._gsi, level)

    def pulse(self) -> None:
        """Pulse the line. Once its eventfd was asked for, all pulses go that way, one after the other: two at the same
        time would be one, and the guest may have handled that before the second one's cause."""
        if self._eventfd is not None:
            os.eventfd_write(self._eventfd, 1)
            return
        self.set(False)
        self.set(True)
        self.set(False)

    def eventfd(self) -> int | None:
        """An eventfd that pulses the line by KVM_IRQFD."""
        if self._eventfd is None:
            self._eventfd = self._interrupts.irqfd(self._gsi)
        return self._eventfd


class Message:
    """A message-signalled interrupt: a GSI of its own, which the routing table turns into the message."""

    def __init__(self, interrupts: "Interrupts") -> None:
        self._interrupts = interrupts
        self._gsi: int | None = None
        self._level = False
        self._eventfd: int | None = None

    def route(self, address: int, data: int) -> None:
        """Send this message from now on. Raises ValueError if no message can have these values, KvmError if KVM takes
        no more routes."""
        if not (0 <= address < 1 << 64 and 0 <= data < 1 << 32):
            raise ValueError(f"{address:#x}, {data:#x} are not a 64-bit address and 32-bit data")
        self._gsi = self._interrupts.route(self._gsi, address, data)

    def set(self, level: bool) -> None:
        """Send the message when the line rises (PCI Local Bus 3.0, 6.8.3.3)."""
        if level and not self._level:
            self.pulse()
        self._level = level

    def pulse(self) -> None:
        """Send the message, if there is one."""
        if self._gsi is not None and (fd := self.eventfd()) is not None:
            os.eventfd_write(fd, 1)

    def eventfd(self) -> int | None:
        """An eventfd that sends the message by KVM_IRQFD; None before there is a message."""
        if self._eventfd is None and self._gsi is not None:
            self._eventfd = self._interrupts.irqfd(self._gsi)
        return self._eventfd


class Interrupts:
    """The interrupt controllers of a VM, as its devices reach them; ``irqchip`` says whether KVM has them.

    Raises HostError if the host's KVM lacks what an interrupt needs.
    """

    def __init__(self, system: System, vm: VM, irqchip: bool) -> None:
        self.vm = vm
        self._system = system
        self._irqchip = irqchip
        self._messages: dict[int, MsiRoute] = {}  # by GSI, above the IOAPIC's
        self._lock = threading.Lock()
        self._resources = ExitStack()

    def line(self, gsi: int | None) -> Line | Unconnected:
        """The interrupt of a device's line; None: the device has no line."""
        return Line(self, gsi) if gsi is not None and self._irqchip else Unconnected()

    def message(self) -> Message | Unconnected:
        """A new message-signalled interrupt."""
        return Message(self) if self._irqchip else Unconnected()

    def irqfd(self, gsi: int) -> int:
        """A new eventfd that pulses a GSI."""
        self._need("KVM_CAP_IRQFD")
        fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._resources.callback(os.close, fd)
        self.vm.irqfd(fd, gsi)
        return fd

    def route(self, gsi: int | None, address: int, data: int) -> int:
        """Route a GSI, None for the next free one, to a message; return the GSI."""
        self._need("KVM_CAP_IRQ_ROUTING")
        with self._lock:
            taken = layout.IOAPIC_PINS + len(self._messages) if gsi is None else gsi
            messages = self._messages | {taken: MsiRoute(taken, address, data)}
            self.vm.set_gsi_routing([*PINS, *messages.values()])
            self._messages = messages
        return taken

    def close(self) -> None:
        """Close the descriptors opened here."""
        self._resources.close()

    def _need(self, capability: str) -> None:
        if not self._system.check_extension(capability):
            raise HostError(f"this host's KVM lacks {capability}, which the interrupt of a device needs")
