"""A machine for a virtio device, and a driver for it."""

from collections.abc import Callable, Iterator

import pytest

from runner.devices.virtio.device import VirtioDevice
from runner.devices.virtio.mmio import connected
from runner.memory import GuestMemory
from tests.fakes.virtiodriver import Driver
from vmspec.plan.calls import Slot

RAM = 1 << 20


@pytest.fixture
def memory() -> Iterator[GuestMemory]:
    memory = GuestMemory((Slot(0, 0, RAM, 0),))
    yield memory
    memory.close()


@pytest.fixture
def drive(plug: Callable[..., object], memory: GuestMemory) -> Callable[[VirtioDevice], Driver]:
    """A driver of a device that is connected by MMIO; ``driver.guest.notices`` is what the user was told."""

    def make(device: VirtioDevice) -> Driver:
        notices: list[str] = []
        guest = plug(connected(type(device))(device, notices.append), memory=memory)
        guest.notices = notices
        return Driver(guest, memory)

    return make
