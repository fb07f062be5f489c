"""Fuzzes virtio devices in Python by coverage (atheris): a hostile driver of their registers, queues and input.

``python -m tests.fuzz.registers KIND [libFuzzer's options]``; an exception of any kind is a fault.
"""

import contextlib
import sys

import atheris

with atheris.instrument_imports(include=["runner.devices", "runner.machine.virtqueue"]):
    from runner.devices.device import Board
    from runner.devices.virtio import mmio, pci
    from runner.devices.virtio.balloon import BalloonDevice
    from runner.devices.virtio.console import Console
    from runner.memory import GuestMemory
    from tests.fakes.virtiodriver import CONFIGURATION, REGIONS, Driver, PCIDriver
    from tests.fakes.virtqueuefake import VERSION_1
    from tests.runner.devices.conftest import Guest

from importlib import import_module
from pathlib import Path
from typing import Any

from runner.devices import TABLE
from vmspec import layout
from vmspec.devices.models import KINDS
from vmspec.devices.virtio import ConsolePort
from vmspec.plan.calls import Slot
from vmspec.plan.resources import options
from vmspec.registers import virtio as R
from vmspec.registers import virtio_balloon
from vmspec.registers import virtiopci as P

RAM = 0x40000
STEPS = 200  # of one input
OPTIONS: dict[str, dict[str, Any]] = {
    "virtio-rng": {"seed": 7},
    "virtio-console": {"ports": (ConsolePort("result"), ConsolePort("log"))},
    "virtio-balloon": {"size": 16 << 12},
}
STATISTICS = len(virtio_balloon.STATISTICS)
DRIVEN = 8  # queues that a driver sets up, at most


class Machine:
    """A fresh device of a kind, and its driver, by a transport."""

    def __init__(self, kind: str, memory: GuestMemory, on_pci: bool) -> None:
        module, name = TABLE[kind]
        cls = getattr(import_module(f"runner.devices.{module}"), name)
        model = KINDS[kind](**OPTIONS.get(kind, {}))
        device = cls.make(options(model), Board(Path(), ()))
        if on_pci:
            made = pci.PCI.of(cls)(device, lambda text: None, (layout.PCI_MEMORY,), 10)
            self.guest = Guest(made, memory=memory, firsts=REGIONS)
            self.driver: Driver = PCIDriver(self.guest, memory)
            self.places = [P.COMMON, P.ISR, P.CONFIG, P.NOTIFY, P.TABLE, P.PENDING, CONFIGURATION]
        else:
            self.guest = Guest(mmio.MMIO.of(cls)(device, lambda text: None), memory=memory)
            self.driver = Driver(self.guest, memory)
            self.places = [0, R.CONFIG]
        self.device: Any = device
        self.queues = min(len(device.queue_sizes), DRIVEN)

    def start(self, refused: int) -> None:
        """A driver that does as it should, and accepts what it does not refuse."""
        self.driver.start(self.queues, features=VERSION_1 | self.driver.offered() & ~refused)

    def outside(self, give: Any) -> None:
        """Something comes from the host."""
        match self.device:
            case Console():
                ends = self.device.ends()
                end = ends[give.ConsumeIntInRange(0, len(ends) - 1)]
                if end.room():
                    end.receive(give.ConsumeBytes(min(end.room(), 64)))
                else:
                    self.device.resized(give.ConsumeUInt(2), give.ConsumeUInt(2))
                if give.ConsumeBool():
                    self.device.resized(give.ConsumeUInt(3), give.ConsumeUInt(1))
            case BalloonDevice():
                if give.ConsumeBool():
                    self.device.ask()
                else:
                    self.device.set_target(give.ConsumeUInt(8))
                found = self.device.balloon()
                assert len(found.statistics) <= STATISTICS


def run(kind: str, memory: GuestMemory, data: bytes) -> None:
    """One input."""
    give = atheris.FuzzedDataProvider(data)
    memory.write(0, bytes(RAM))
    on_pci = give.ConsumeBool()
    machine = Machine(kind, memory, on_pci)
    driver = machine.driver
    if give.ConsumeBool():
        machine.start(give.ConsumeUInt(1))
    for _ in range(STEPS):
        if not give.remaining_bytes():
            break
        queue = driver.queues[give.ConsumeIntInRange(0, DRIVEN - 1) % len(driver.queues)] if driver.queues else None
        match give.ConsumeIntInRange(0, 9):
            case 0:  # any access
                size = 1 << give.ConsumeIntInRange(0, 3)
                value = give.ConsumeUInt(8) & (1 << 8 * size) - 1
                machine.guest.write(give.PickValueInList(machine.places) + give.ConsumeIntInRange(0, 0xF8), value, size)
            case 1:
                size = 1 << give.ConsumeIntInRange(0, 3)
                machine.guest.read(give.PickValueInList(machine.places) + give.ConsumeIntInRange(0, 0xF8), size)
            case 2:  # a register of 32 bits
                register = give.PickValueInList([R.STATUS, R.QUEUE_SEL, R.QUEUE_NUM, R.QUEUE_READY, R.QUEUE_NOTIFY])
                driver.write(register, give.ConsumeUInt(1))
            case 3 if queue is not None:  # a descriptor
                flags, following = give.ConsumeIntInRange(0, 7), give.ConsumeIntInRange(0, 9)
                queue.describe(give.ConsumeIntInRange(0, 7), give.ConsumeUInt(3), give.ConsumeUInt(2), flags, following)
            case 4 if queue is not None:
                queue.offer(give.ConsumeUInt(1))
                driver.notify(driver.queues.index(queue))
            case 5:  # bytes in buffers
                with contextlib.suppress(ValueError):
                    memory.write(give.ConsumeUInt(3), give.ConsumeBytes(32))
            case 6:
                machine.guest.elapse()
            case 7:
                machine.outside(give)
            case 8:
                machine.start(give.ConsumeUInt(1))
            case 9:  # what a broken guest has left can be saved, and goes on
                other = Machine(kind, memory, on_pci)
                other.guest.device.load(machine.guest.device.save())
                assert other.guest.device.save() == machine.guest.device.save()
                other.driver.queues = driver.queues
                machine, driver = other, other.driver
            case _:
                pass


def main() -> None:
    """Fuzz the kind that the first argument names."""
    kind = sys.argv.pop(1)
    memory = GuestMemory((Slot(0, 0, RAM, 0),))
    atheris.Setup(sys.argv, lambda data: run(kind, memory, data))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
