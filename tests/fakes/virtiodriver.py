"""A virtio driver over each transport, written from the specification (virtio 1.2, 3.1.1, 4.1.5, 4.2.3)."""

from copy import copy
from typing import Any

from runner.memory import GuestMemory
from tests.fakes.virtqueuefake import INDIRECT_DESC, VERSION_1, DriverQueue
from vmspec.registers import pci as P
from vmspec.registers import virtio as R
from vmspec.registers import virtiopci as V

AREA = 0x4000  # from one queue to the next


class Driver:
    """Drives a device by ``guest``, which accesses its registers; queues lie in the guest's memory from ``at`` on.

    Registers have the numbers of the MMIO transport, by whatever transport the driver reaches them.
    """

    def __init__(self, guest: Any, memory: GuestMemory, at: int = 0x10000) -> None:
        self.guest, self.memory, self.at = guest, memory, at
        self.queues: list[DriverQueue] = []

    def moved(self, guest: Any, memory: GuestMemory) -> "Driver":
        """The same driver of the same guest in another machine."""
        other = copy(self)
        other.guest, other.memory = guest, memory
        other.queues = [copy(queue) for queue in self.queues]
        for queue in other.queues:
            queue.memory, queue.free, queue.chains = memory, list(queue.free), dict(queue.chains)
        return other

    def read(self, register: int) -> int:
        value: int = self.guest.read(register, 4)
        return value

    def write(self, register: int, value: int) -> None:
        self.guest.write(register, value, 4)

    def read_configuration(self, offset: int, size: int) -> int:
        """Read from the device's configuration space."""
        value: int = self.guest.read(R.CONFIG + offset, size)
        return value

    def write_configuration(self, offset: int, value: int, size: int) -> None:
        """Write to the device's configuration space."""
        self.guest.write(R.CONFIG + offset, value, size)

    def status(self, *bits: int) -> int:
        """Add bits to the status; return what it is then."""
        self.write(R.STATUS, self.read(R.STATUS) | sum(bits))
        return self.read(R.STATUS)

    def offered(self) -> int:
        """The features that the device offers."""
        halves = []
        for half in (0, 1):
            self.write(R.DEVICE_FEATURES_SEL, half)
            halves.append(self.read(R.DEVICE_FEATURES))
        return halves[0] | halves[1] << 32

    def negotiate(self, features: int = VERSION_1 | INDIRECT_DESC) -> bool:
        """Reset the device and accept features; return whether the device takes them."""
        self.write(R.STATUS, 0)
        self.status(R.ACKNOWLEDGE)
        self.status(R.DRIVER)
        for half in (0, 1):
            self.write(R.DRIVER_FEATURES_SEL, half)
            self.write(R.DRIVER_FEATURES, features >> 32 * half & 0xFFFFFFFF)
        return bool(self.status(R.FEATURES_OK) & R.FEATURES_OK)

    def set_up(self, index: int, size: int = 8, at: int | None = None) -> DriverQueue:
        """Set up a queue."""
        queue = DriverQueue(self.memory, size, self.at + AREA * index if at is None else at)
        self.memory.write(queue.available, bytes(queue.used - queue.available))
        self.memory.write(queue.used, bytes(queue.end - queue.used))
        self.write(R.QUEUE_SEL, index)
        self.write(R.QUEUE_NUM, size)
        for register, address in zip((R.QUEUE_DESC, R.QUEUE_DRIVER, R.QUEUE_DEVICE), queue.areas, strict=True):
            self.write(register, address & 0xFFFFFFFF)
            self.write(register + 4, address >> 32)
        self.write(R.QUEUE_READY, 1)
        return queue

    def start(self, queues: int = 1, size: int = 8, features: int = VERSION_1 | INDIRECT_DESC) -> "Driver":
        """All that a driver does before it uses a device."""
        assert self.negotiate(features)
        self.queues = [self.set_up(index, size) for index in range(queues)]
        self.status(R.DRIVER_OK)
        return self

    def notify(self, queue: int) -> None:
        """Tell the device of new chains."""
        self.write(R.QUEUE_NOTIFY, queue)

    def acknowledge(self) -> int:
        """What the interrupt was for; it is acknowledged."""
        causes = self.read(R.INTERRUPT_STATUS)
        self.write(R.INTERRUPT_ACK, causes)
        return causes


CONFIGURATION = 0x100000  # the number of the first byte of configuration space
REGIONS = {"registers": 0, "configuration": CONFIGURATION}
# The registers of the MMIO transport and their place and width in the PCI transport.
SAME = {
    R.DEVICE_FEATURES: V.DEVICE_FEATURE,
    R.DEVICE_FEATURES_SEL: V.DEVICE_FEATURE_SELECT,
    R.DRIVER_FEATURES: V.DRIVER_FEATURE,
    R.DRIVER_FEATURES_SEL: V.DRIVER_FEATURE_SELECT,
    R.QUEUE_SEL: V.QUEUE_SELECT,
    R.QUEUE_NUM_MAX: V.QUEUE_SIZE,
    R.QUEUE_NUM: V.QUEUE_SIZE,
    R.QUEUE_READY: V.QUEUE_ENABLE,
    R.STATUS: V.DEVICE_STATUS,
    R.CONFIG_GENERATION: V.CONFIG_GENERATION,
    **{
        mmio + half: pci + half
        for mmio, pci in (
            (R.QUEUE_DESC, V.QUEUE_DESC),
            (R.QUEUE_DRIVER, V.QUEUE_DRIVER),
            (R.QUEUE_DEVICE, V.QUEUE_DEVICE),
        )
        for half in (0, 4)
    },
}
FIRST_VECTOR = 0x30  # message data of the configuration's vector; those of the queues follow
LOCAL_APIC = 0xFEE00000


class PCIDriver(Driver):
    """The same over PCI: it finds the structures by the capabilities, and uses MSI-X with a vector for each queue, or
    without ``msix`` INTA."""

    def __init__(self, guest: Any, memory: GuestMemory, at: int = 0x10000, msix: bool = True) -> None:
        super().__init__(guest, memory, at)
        self.msix = msix
        self.seen = 0  # messages that were looked at
        self.control = 0  # offset of the MSI-X capability
        self.table = 0
        self.access = 0  # offset of the capability that accesses BAR 0
        self.places: dict[int, int] = {}  # structures in BAR 0, by their kind
        self.multiplier = 0
        self.find()
        self.enable()

    def configuration(self, offset: int, size: int) -> int:
        value: int = self.guest.read(CONFIGURATION + offset, size)
        return value

    def configure(self, offset: int, value: int, size: int) -> None:
        self.guest.write(CONFIGURATION + offset, value, size)

    def find(self) -> None:
        """Walk the capabilities."""
        at = self.configuration(P.CAPABILITIES, 1)
        while at:
            kind = self.configuration(at, 1)
            if kind == P.MSIX:
                self.control = at + P.MSIX_CONTROL
                self.table = self.configuration(at + P.MSIX_TABLE, 4) & ~7
            elif kind == P.VENDOR_SPECIFIC:
                which = self.configuration(at + V.CFG_TYPE, 1)
                self.places[which] = self.configuration(at + V.CFG_OFFSET, 4)
                if which == V.NOTIFY_CFG:
                    self.multiplier = self.configuration(at + V.MULTIPLIER, 4)
                if which == V.PCI_CFG:
                    self.access = at
            at = self.configuration(at + 1, 1)

    def enable(self) -> None:
        """Decode memory, be a bus master, and give each vector its message."""
        self.configure(P.COMMAND, P.MEMORY_SPACE | P.BUS_MASTER, 2)
        if self.msix:
            self.configure(self.control, P.MSIX_ENABLE, 2)
            for vector in range((self.configuration(self.control, 2) & 0x7FF) + 1):
                for at, value in ((0, LOCAL_APIC), (4, 0), (8, FIRST_VECTOR + vector), (12, 0)):
                    self.guest.write(self.table + P.VECTOR_SIZE * vector + at, value, 4)

    def choose(self) -> None:
        """Tell the device which vector is for what; a reset has made it forget."""
        if not self.msix:
            return
        common = self.places[V.COMMON_CFG]
        self.guest.write(common + V.CONFIG_MSIX_VECTOR, 0, 2)
        for queue in range(self.guest.read(common + V.NUM_QUEUES, 2)):
            self.guest.write(common + V.QUEUE_SELECT, queue, 2)
            self.guest.write(common + V.QUEUE_MSIX_VECTOR, 1 + queue, 2)

    def negotiate(self, features: int = VERSION_1 | INDIRECT_DESC) -> bool:
        taken = super().negotiate(features)
        self.choose()
        return taken

    def read(self, register: int) -> int:
        value: int
        if register == R.DEVICE_ID:
            value = self.configuration(P.DEVICE_ID, 2) - V.DEVICE
        else:
            value = self.guest.read(self.places[V.COMMON_CFG] + SAME[register], V.WIDTHS[SAME[register]])
        return value

    def write(self, register: int, value: int) -> None:
        if register == R.QUEUE_NOTIFY:
            self.notify(value)
            return
        width = V.WIDTHS[SAME[register]]
        self.guest.write(self.places[V.COMMON_CFG] + SAME[register], value & (1 << 8 * width) - 1, width)

    def read_configuration(self, offset: int, size: int) -> int:
        value: int = self.guest.read(self.places[V.DEVICE_CFG] + offset, size)
        return value

    def write_configuration(self, offset: int, value: int, size: int) -> None:
        self.guest.write(self.places[V.DEVICE_CFG] + offset, value, size)

    def notify(self, queue: int) -> None:
        """At the queue's own register, if that is one."""
        at = self.multiplier * queue
        if at < V.PAGE:
            self.guest.write(self.places[V.NOTIFY_CFG] + at, queue, 2)

    def acknowledge(self) -> int:
        """What came since the last call, as the MMIO transport tells it."""
        causes: int = self.guest.read(self.places[V.ISR_CFG], 1)
        if self.msix:
            messages, self.seen = self.guest.messages[self.seen :], len(self.guest.messages)
            causes = sum({R.CONFIGURATION if data == FIRST_VECTOR else R.USED_BUFFER for _, data in messages})
        return causes
