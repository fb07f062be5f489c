"""The devices of a recording's machine, without KVM: they answer and interrupt as today's models do."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from runner.devices import Board, Device, make
from runner.devices.asked import asked
from runner.devices.device import DeviceError
from runner.devices.i8259 import I8259
from runner.devices.services import Services
from runner.replay.recording import Recording
from vmspec.bundle.inside import ROOT
from vmspec.devices.regions import Region
from vmspec.document import Document
from vmspec.plan import memory_map, resources, virtual
from vmspec.plan.plan import PlannedDevice
from vmspec.trace import keys


class Place(NamedTuple):
    """Where an address leads: a device by its index, its region, and ``room`` bytes until the region's end."""

    device: int
    region: Region
    offset: int
    room: int


class NoBus:
    """A bus whose vCPU loop answers nothing: each access goes to the device."""

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments, **options: 0


class Line:
    """A device's line into the machine's interrupt controller."""

    def __init__(self, machine: "Modelled", irq: int | None) -> None:
        self._machine, self._irq = machine, irq

    def set(self, level: bool) -> None:
        """Drive the line."""
        if self._irq is not None:
            self._machine.controller.set_line(self._irq, level)

    def pulse(self) -> None:
        """Pulse the line."""
        for level in (False, True, False):
            self.set(level)

    def eventfd(self) -> int | None:
        """None: no other thread interrupts."""
        return None


class Modelled:
    """The machine. ``now`` is the virtual time in ns, ``output`` that of the interrupt controller, ``ended`` how a
    device has ended the run. Devices that are classes of a user's have no model here."""

    def __init__(self, recording: Recording) -> None:
        spec = Document(recording.spec, ROOT, file=recording.path / keys.SPEC).spec()
        self._slots = memory_map.slots(spec.vm.memory)
        self.step = virtual.planned(spec, []).step
        self.planned = resources.devices(spec, self._slots, irqchip=False, pit=False, problems=[])
        if virtio := [device.name for device in self.planned if device.transport is not None]:
            message = "has requests in the guest's memory, which the recording does not have: vmrun --replay replays it"
            raise DeviceError(f"{' and '.join(virtio)} {message}")
        self.now = 0
        self.output = False
        self.ended: str | None = None
        self._due: list[int | None] = [None for _ in self.planned]
        self._ports = sorted(
            (region.start, index, region)
            for index, device in enumerate(self.planned)
            for region in device.regions
            if region.space == "port" and region.start is not None
        )
        self.devices: list[Device | None] = []
        for index, planned in enumerate(self.planned):
            self.devices.append(self._made(index, planned))

    def _made(self, index: int, planned: PlannedDevice) -> Device | None:
        if "class" in planned.options:
            return None
        device = make(planned, Board(Path(), self._slots))
        if isinstance(device, I8259):
            self.controller = device
        services: dict[str, Any] = {
            "bus": NoBus(),
            "irq": Line(self, None if planned.kind == "i8259" else planned.irq),
            "msi": lambda: Line(self, None),
            "memory": None,
            "output": lambda data: None,
            "end": self._end,
            "clock": self,
            "after": partial(self._after, index),
            "intr": self._intr,
        }
        device.attach(Services(**services))
        return device

    # The devices' services

    def monotonic(self) -> int:
        """The virtual time."""
        return self.now

    realtime = monotonic

    def _after(self, index: int, delay: int | None) -> None:
        self._due[index] = None if delay is None else self.now + max(0, delay)

    def _intr(self, level: bool) -> None:
        self.output = level

    def _end(self, kind: str, status: int | None = None) -> None:
        self.ended = self.ended or kind

    # The guest's side

    def place(self, address: int) -> Place | None:
        """Where a port leads; None: no region is there."""
        for start, index, region in self._ports:
            if start <= address < start + region.size:
                return Place(index, region, address - start, start + region.size - address)
        return None

    def room(self, address: int) -> int:
        """Bytes without a region from an address on."""
        return min((start - address for start, _, _ in self._ports if start > address), default=1 << 16)

    @property
    def deadline(self) -> int | None:
        """When the next timer is due."""
        return min((due for due in self._due if due is not None), default=None)

    def tick(self) -> None:
        """Tick the devices whose time has come."""
        for index, device in enumerate(self.devices):
            due = self._due[index]
            if device is not None and due is not None and due <= self.now:
                self._due[index] = None
                device.tick()

    def receive(self, name: str, port: int | None, data: bytes) -> None:
        """Give a device its input, or without a port do what the host asked of it, such as to press its button."""
        for device in self.named(name):
            if port is not None:
                device.ends()[port].receive(data)
            elif (ask := asked(data.decode())) is not None:
                if (take := getattr(device.model(), ask.method, None)) is None:
                    raise DeviceError(f"the recording's {name} takes no {data.decode()!r}")
                take(*ask.arguments)

    def named(self, name: str) -> Iterator[Device]:
        """The device with that name, if it has a model."""
        for planned, device in zip(self.planned, self.devices, strict=True):
            if planned.name == name and device is not None:
                yield device

    def acknowledge(self) -> int:
        """The processor takes an interrupt: its vector."""
        return self.controller.acknowledge()


def unmodelled(recording: Recording) -> tuple[str, ...]:
    """The devices without a model here."""
    machine = Modelled(recording)
    return tuple(
        planned.name for planned, device in zip(machine.planned, machine.devices, strict=True) if device is None
    )
