"""Fuzzes PCI configuration space and base address registers by coverage (atheris): a hostile guest at the bridge.

``python -m tests.fuzz.configuration [libFuzzer's options]``; the functions are virtio devices on a machine's C bus.
What a guest cannot write stays as it is; regions lie in the bridge's windows, by their registers, and never over one
another; each access reaches the region that lies there.
"""

import sys
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import atheris

from runner.devices import Board, make
from runner.devices.services import Services
from runner.machine.clock import HostClock
from runner.machine.inputs import Inputs
from runner.machine.virtqueue import Queue
from runner.memory import GuestMemory
from runner.recording.requests import Requests
from runner.recording.rings import Rings

with atheris.instrument_imports(include=["runner"]):
    from runner.devices.pci.function import WINDOWS, Function
    from runner.devices.pci.host import HostBridge  # noqa: F401
    from runner.machine.bus import Buses
    from runner.machine.configuration import ConfigurationSpace

from tests.runner.conftest import Loop
from vmspec import layout
from vmspec.devices.isa import PCIHost
from vmspec.devices.models import KINDS
from vmspec.devices.regions import Region
from vmspec.plan.calls import Slot
from vmspec.plan.plan import PlannedDevice
from vmspec.plan.resources import options
from vmspec.registers import pci as P
from vmspec.registers import virtiopci as V

RAM = 0x40000
STEPS = 100  # of one input
FUNCTIONS = ("virtio-rng", "virtio-console", "virtio-balloon")
TAKEN = Region("a table of the machine's", "mmio", 0x1000, layout.PCI_MEMORY + 0x100000)


class Wire:
    """An interrupt: a line, or a message."""

    def set(self, level: bool) -> None:
        """See :class:`runner.devices.services.Interrupt`."""

    def pulse(self) -> None:
        """The same."""

    def route(self, address: int, data: int) -> None:
        """The same."""
        assert 0 <= address < 1 << 64
        assert 0 <= data < 1 << 32

    def eventfd(self) -> int | None:
        """The same."""
        return None


class Machine:
    """The bridge and its functions, and a vCPU's loop."""

    def __init__(self) -> None:
        self.memory = GuestMemory((Slot(0, 0, RAM, 0),))
        planned = [PlannedDevice("pci-host0", "pci-host", {"chipset": "none"}, PCIHost().regions())]
        for number, kind in enumerate(FUNCTIONS, 1):
            cls: Any = KINDS[kind]
            model: Any = cls()
            bar, space = model.pci_regions()[0], Region("configuration", "pci", 256, number << P.DEVICE)
            start = layout.PCI_MEMORY + bar.size * number
            device = PlannedDevice(f"{kind}0", kind, options(model), (bar, space), 9 + number)
            planned.append(device._replace(transport="pci", bars=(start,)))
        self.failures: list[Exception] = []
        self.buses = Buses(planned, HostClock(), Inputs(), self.failures.append, (TAKEN,))
        board = Board(Path(), (Slot(0, 0, RAM, 0),))
        wire: Any = Wire()
        for index, device in enumerate(planned):
            made = make(device, board)
            self.buses.devices.append(made)
            made.attach(
                Services(
                    bus=self.buses.end_of(index),
                    irq=wire,
                    msi=lambda: wire,
                    memory=self.memory,
                    output=lambda data: None,
                    end=lambda kind, status: None,
                    clock=HostClock(),
                    after=partial(self.buses.after, index),
                    virtqueue=partial(Queue, self.memory, Requests(), 0),
                    configuration=ConfigurationSpace(self.buses),
                )
            )
        self.rings = Rings(1, 64, "drop", None)
        self.rings.start(1_000_000)
        self.loop = Loop(self.buses.bus, self.rings.ring(0))
        self.functions: list[Any] = [device for device in self.buses.devices if isinstance(device, Function)]

    def reset(self) -> None:
        """As after power-on: all regions are where they began."""
        self.buses.reset()
        starts = [start for _, _, region, start in self.mapped() if region.start is None]
        assert starts == [device.bars[0] for device in self.buses.planned[1:]]

    def mapped(self) -> Iterator[tuple[int, int, Region, int]]:
        """Regions that have a place: their device, number there, the region, its start."""
        for number, (device, region) in enumerate(self.buses.places):
            start = self.buses.regions.start(number)
            if start is not None and region.space != "pci":
                yield device, self.buses.planned[device].regions.index(region), region, start

    def port(self, port: int, size: int, value: int | None) -> None:
        """An access to a port; ``value`` None: a read."""
        data = (0 if value is None else value).to_bytes(size, "little")
        self.finish(self.loop.io(port, size, data, value is not None), "port", port, size)

    def access(self, address: int, size: int, value: int | None) -> None:
        """An access to memory that is no RAM."""
        data = (0 if value is None else value).to_bytes(size, "little")
        self.finish(self.loop.mmio(address, data, value is not None), "mmio", address, size)

    def finish(self, access: Any, space: str, address: int, size: int) -> None:
        """Answer an access, and look whether its record names who lay there: of several the first."""
        found = [
            (start, device, number)
            for device, number, region, start in self.mapped()
            if region.space == space and start < address + size and address < start + region.size
        ]
        there = min(found)[1:] if found else (-1, 0)
        while access:
            self.buses.answer(access)
            access = self.loop.go_on()
        last = self.rings.last(0, 1)[0]
        assert (last["device"], last["region"]) == there, (hex(address), there)
        assert self.failures == []

    def check(self) -> None:
        """What holds whatever a guest has written."""
        for function in self.functions:
            spaces = function.configuration, function._initial, function._writable
            now, initial, mask = (int.from_bytes(space, "little") for space in spaces)
            assert (now ^ initial) & ~mask & ~(P.INTERRUPT_STATUS << 8 * P.STATUS) == 0
        spans = [(0, RAM), (TAKEN.start or 0, (TAKEN.start or 0) + TAKEN.size)]
        for device, _, region, start in self.mapped():
            if region.space != "mmio":
                continue
            spans.append((start, start + region.size))
            if region.start is None:  # it moves
                function = self.buses.devices[device]
                assert isinstance(function, Function)
                value = function.read_configuration(P.BAR, 4)
                assert function.read_configuration(P.COMMAND, 2) & P.MEMORY_SPACE
                assert start == value & -region.size
                assert start in WINDOWS["mmio"]
                assert start + region.size - 1 in WINDOWS["mmio"]
        spans.sort()
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))


def run(machine: Machine, data: bytes) -> None:
    """One input."""
    give = atheris.FuzzedDataProvider(data)
    machine.reset()
    machine.check()
    window = WINDOWS["mmio"]
    for _ in range(STEPS):
        if not give.remaining_bytes():
            break
        number = give.ConsumeIntInRange(0, len(FUNCTIONS))
        size = 1 << give.ConsumeIntInRange(0, 2)
        function = machine.functions[number]
        ecam = layout.PCI_ECAM + (number << P.DEVICE)
        match give.ConsumeIntInRange(0, 9):
            case 0:  # any register, by the ports
                register = give.ConsumeIntInRange(0, 0xFF)
                address = P.ENABLE | number << P.DEVICE - 4 | register & 0xFC
                machine.port(P.ADDRESS_PORT, 4, address if give.ConsumeBool() else give.ConsumeUInt(4))
                machine.port(P.DATA_PORT + register % 4, size, give.ConsumeUInt(4) & (1 << 8 * size) - 1)
            case 1:  # any register, by memory
                value = give.ConsumeUInt(4) & (1 << 8 * size) - 1
                at = ecam if give.ConsumeBool() else layout.PCI_ECAM + give.ConsumeUInt(3)
                machine.access(at + give.ConsumeIntInRange(0, 0xFF), size, value)
            case 2:  # a base address register, near what means something
                base = give.PickValueInList([window.start, window.stop, TAKEN.start, 0, 0x100000000, RAM])
                value = base + give.ConsumeIntInRange(-4, 8) * V.SIZE + give.ConsumeIntInRange(-1, 1)
                machine.access(ecam + P.BAR, 4, value & 0xFFFFFFFF)
            case 3:
                machine.access(ecam + P.COMMAND, 2, give.ConsumeUInt(2))
            case 4:
                machine.access(ecam + P.MSIX_AT + P.MSIX_CONTROL, 2, give.ConsumeUInt(2))
            case 5:  # the device, where it lies or lay
                base = function.read_configuration(P.BAR, 4) & -V.SIZE
                at = base + give.PickValueInList([V.COMMON, V.ISR, V.CONFIG, V.NOTIFY, V.TABLE, V.PENDING])
                value = give.ConsumeUInt(4) & (1 << 8 * size) - 1
                machine.access(at + give.ConsumeIntInRange(0, 0xFF), size, value if give.ConsumeBool() else None)
            case 6:  # anywhere in the windows
                machine.access(give.ConsumeIntInRange(window.start - 8, window.stop + 8), size, None)
            case 7:
                machine.port(give.ConsumeIntInRange(P.ADDRESS_PORT - 1, P.DATA_PORT + 4), size, None)
            case 8:
                machine.access(ecam + give.ConsumeIntInRange(0, 0xFFF), size, None)
            case 9:
                state = function.save()
                function.load(state)
                assert function.save() == state
        machine.buses.flush()
        machine.check()


def main() -> None:
    """Fuzz."""
    machine = Machine()
    atheris.Setup(sys.argv, lambda data: run(machine, data))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
