"""Fuzzes virtio devices in Python by coverage (atheris): a hostile driver of their registers, queues and input.

``python -m tests.fuzz.registers KIND [libFuzzer's options]``; an exception of any kind is a fault.
"""

import contextlib
import sys

import atheris

from runner.devices import TABLE
from runner.devices.device import Board
from runner.machine import queueworker  # noqa: F401 (the machine's own, as what is above: not instrumented, so quicker)
from runner.memory import GuestMemory

with atheris.instrument_imports(include=["runner"]):
    from runner.devices.virtio import mmio, pci, rng  # noqa: F401
    from runner.devices.virtio.balloon import BalloonDevice
    from runner.devices.virtio.console import Console

from copy import copy
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

from runner.devices.state import State
from tests.fakes.virtiodriver import CONFIGURATION, REGIONS, Driver, PCIDriver
from tests.fakes.virtioecho import Echo
from tests.fakes.virtqueuefake import VERSION_1, DriverQueue
from tests.runner.devices.conftest import Guest
from vmspec import layout
from vmspec.devices.models import KINDS
from vmspec.devices.virtio import ConsolePort
from vmspec.plan.calls import Slot
from vmspec.plan.resources import options
from vmspec.registers import virtio as R
from vmspec.registers import virtio_balloon
from vmspec.registers import virtiopci as P

RAM = bytes(0x40000)
STEPS = 200  # of one input
OPTIONS: dict[str, dict[str, Any]] = {
    "virtio-rng": {"seed": 7},
    "virtio-console": {"ports": (ConsolePort("result"), ConsolePort("log"))},
    "virtio-balloon": {"size": 16 << 12},
}
STATISTICS = len(virtio_balloon.STATISTICS)
DRIVEN = 8  # queues that a driver sets up, at most
COMPARED = 16  # inputs from one comparison of a reset device with a new one to the next


class Machine:
    """A device of a kind, and its driver, by a transport. Inputs share it: making one takes longer than most inputs."""

    def __init__(self, kind: str, memory: GuestMemory, on_pci: bool) -> None:
        device, cls = made(kind)
        if on_pci:
            transport: Any = pci.PCI.of(cls)(device, lambda text: None, (layout.PCI_MEMORY,), 10)
            self.guest = Guest(transport, memory=memory, firsts=REGIONS)
        else:
            transport = mmio.MMIO.of(cls)(device, lambda text: None)
            self.guest = Guest(transport, memory=memory)
        self.device, self.transport = device, transport
        self.new: Any = transport.save()
        if on_pci:
            self.driver: Driver = PCIDriver(self.guest, memory)
            self.places = [P.COMMON, P.ISR, P.CONFIG, P.NOTIFY, P.TABLE, P.PENDING, CONFIGURATION]
        else:
            self.driver = Driver(self.guest, memory)
            self.places = [0, R.CONFIG]
        self.found: State = transport.save()  # as the driver has found it
        self.offered = self.driver.offered()
        self.queues = min(len(device.queue_sizes), DRIVEN)
        self.started: dict[int, tuple[State, list[DriverQueue]]] = {}  # by the features that the driver accepts

    def begin(self, state: State, queues: list[DriverQueue]) -> None:
        """Continue from a state; what has come of the device before is forgotten."""
        self.transport.load(state)
        self.driver.queues = [copy(queue) for queue in queues]
        self.guest.text = b""
        for grown in (self.guest.port_text, self.guest.sent, self.guest.ends):
            grown.clear()

    def accepted(self, refused: int) -> int:
        """What a driver accepts that does as it should."""
        return VERSION_1 | self.offered & ~refused

    def start(self, refused: int) -> None:
        """Such a driver starts the device."""
        self.driver.start(self.queues, features=self.accepted(refused))

    def begin_started(self, refused: int) -> None:
        """The same of a new device. The first such start of all inputs is done, and its state loaded from then on."""
        if (features := self.accepted(refused)) not in self.started:
            self.begin(self.found, [])
            self.start(refused)
            self.started[features] = self.transport.save(), self.driver.queues
        self.begin(*self.started[features])

    def compare(self) -> None:
        """A machine's reset makes the device a new one, but for what the host has given it."""
        self.transport.reset()
        state = self.transport.save()
        for name in type(state).rules():
            assert name == "device" or getattr(state, name) == getattr(self.new, name), name

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
            case Echo():
                self.device.release(give.ConsumeBytes(8))


def made(kind: str) -> tuple[Any, Any]:
    """A device of a kind, and its class."""
    if kind == "virtio-python":
        return Echo(), Echo
    module, name = TABLE[kind]
    cls = getattr(import_module(f"runner.devices.{module}"), name)
    return cls.make(options(KINDS[kind](**OPTIONS[kind])), Board(Path(), ())), cls


def run(machines: dict[bool, list[Machine]], memory: GuestMemory, data: bytes, compare: bool) -> None:
    """One input."""
    give = atheris.FuzzedDataProvider(data)
    memory.write(0, RAM)
    machine, other = machines[give.ConsumeBool()]
    if give.ConsumeBool():
        machine.begin_started(give.ConsumeUInt(1))
        memory.write(0, RAM)
    else:
        machine.begin(machine.found, [])
    driver = machine.driver
    for _ in range(STEPS):
        if not give.remaining_bytes():
            break
        queue = driver.queues[give.ConsumeIntInRange(0, DRIVEN - 1) % len(driver.queues)] if driver.queues else None
        match give.ConsumeIntInRange(0, 15):
            case 0:  # any access
                size = 1 << give.ConsumeIntInRange(0, 3)
                value = give.ConsumeUInt(8) & (1 << 8 * size) - 1
                machine.guest.write(give.PickValueInList(machine.places) + give.ConsumeIntInRange(0, 0xF8), value, size)
            case 1:
                size = 1 << give.ConsumeIntInRange(0, 3)
                machine.guest.read(give.PickValueInList(machine.places) + give.ConsumeIntInRange(0, 0xF8), size)
            case 2 | 10:  # a register of 32 bits
                register = give.PickValueInList([R.STATUS, R.QUEUE_SEL, R.QUEUE_NUM, R.QUEUE_READY, R.QUEUE_NOTIFY])
                driver.write(register, give.ConsumeUInt(1))
            case 3 | 11 | 12 if queue is not None:  # a descriptor
                flags, following = give.ConsumeIntInRange(0, 7), give.ConsumeIntInRange(0, 9)
                queue.describe(give.ConsumeIntInRange(0, 7), give.ConsumeUInt(3), give.ConsumeUInt(2), flags, following)
            case 4 | 13 | 14 if queue is not None:
                queue.offer(give.ConsumeUInt(1))
                driver.notify(driver.queues.index(queue))
            case 5:  # bytes in buffers
                with contextlib.suppress(ValueError):
                    memory.write(give.ConsumeUInt(3), give.ConsumeBytes(32))
            case 6:
                machine.guest.elapse()
            case 7 | 15:
                machine.outside(give)
            case 8:
                machine.start(give.ConsumeUInt(1))
            case 9:  # what a broken guest has left can be saved, and goes on
                state = machine.transport.save()
                other.begin(state, driver.queues)
                assert other.transport.save() == state
                machine, other, driver = other, machine, other.driver
            case _:
                pass
    if compare:
        machine.compare()


def main() -> None:
    """Fuzz the kind that the first argument names."""
    kind = sys.argv.pop(1)
    memory = GuestMemory((Slot(0, 0, len(RAM), 0),))
    machines = {on_pci: [Machine(kind, memory, on_pci) for _ in range(2)] for on_pci in (False, True)}
    number = count()
    atheris.Setup(sys.argv, lambda data: run(machines, memory, data, next(number) % COMPARED == 0))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
