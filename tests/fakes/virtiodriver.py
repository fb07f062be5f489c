"""A virtio driver over the MMIO transport, written from the specification (virtio 1.2, 3.1.1, 4.2.3)."""

from copy import copy
from typing import Any

from runner.memory import GuestMemory
from tests.fakes.virtqueuefake import INDIRECT_DESC, VERSION_1, DriverQueue
from vmspec.registers import virtio as R

AREA = 0x4000  # from one queue to the next


class Driver:
    """Drives a device by ``guest``, which accesses its registers; queues lie in the guest's memory from ``at`` on."""

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
