"""A machine for a virtio device, and a driver for it, by any transport."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from runner.devices.virtio import mmio, pci
from runner.devices.virtio.device import VirtioDevice
from runner.memory import GuestMemory
from tests.fakes.flatdriver import HLT
from tests.fakes.virtiodriver import REGIONS, Driver, PCIDriver
from tests.fakes.virtqueuefake import Buffer
from vmspec import layout
from vmspec.plan.calls import Slot

RAM = 1 << 20
DATA = 0x80000  # where a test's buffers lie
TRANSPORTS = ("mmio", "pci", "pci-inta")


@pytest.fixture
def memory() -> Iterator[GuestMemory]:
    memory = GuestMemory((Slot(0, 0, RAM, 0),))
    yield memory
    memory.close()


@pytest.fixture
def transport() -> str:
    """How devices are connected; a module that tests more of them has this as a parameter."""
    return "mmio"


@pytest.fixture
def connect(plug: Callable[..., Any], memory: GuestMemory, transport: str) -> Iterator[Callable[..., Any]]:
    """Puts a device into a machine. Threads of its data path end before the memory that they use."""
    guests: list[Any] = []

    def make(device: VirtioDevice, notice: Callable[[str], None] = print) -> Any:
        cls: Any = type(device)
        if transport == "mmio":
            guests.append(plug(mmio.MMIO.of(cls)(device, notice), memory=memory))
        else:
            made = pci.PCI.of(cls)(device, notice, (layout.PCI_MEMORY,), 10)
            guests.append(plug(made, memory=memory, firsts=REGIONS))
        return guests[-1]

    yield make
    for guest in guests:
        for path in guest.paths:
            path.end()


@pytest.fixture
def drive(connect: Callable[..., Any], memory: GuestMemory, transport: str) -> Callable[[VirtioDevice], Driver]:
    """A driver of a device; ``driver.guest.notices`` is what the user was told."""

    def make(device: VirtioDevice) -> Driver:
        notices: list[str] = []
        guest = connect(device, notices.append)
        guest.notices = notices
        return Driver(guest, memory) if transport == "mmio" else PCIDriver(guest, memory, msix=transport == "pci")

    return make


def ask(driver, data=b"hello", room=16, at=DATA, queue=0, notify=True):
    """Offer a request and notify the device."""
    driver.memory.write(at, data.ljust(room, b"\0"))
    head = driver.queues[queue].add([Buffer(at, len(data)), Buffer(at + 0x100, room, write=True)])
    if notify:
        driver.notify(queue)
    return head


@pytest.fixture
def run_driver(run_guest):
    """Runs a flat guest with some devices and a debug port, and returns the result. Without ``devices`` it has one of
    random bytes."""

    def run(code, *devices, mode="protected", vm=None, **spec):
        return run_guest(
            code + HLT,
            boot={"mode": mode},
            devices=[*(devices or [{"kind": "virtio-rng", "seed": 7}]), {"kind": "debug-port"}],
            vm={"timeout": "60s"} | (vm or {}),
            **spec,
        )

    return run
