"""The devices of a recording's machine, without KVM: they answer and interrupt as today's models do."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from runner.backends.disk import Disk
from runner.backends.relay import Relayed
from runner.devices import Board, Device, make
from runner.devices.asked import asked
from runner.devices.device import DeviceError
from runner.devices.i8259 import I8259
from runner.devices.services import Native, Services
from runner.machine.virtqueue import Queue
from runner.machine.virtual import tsc_state
from runner.machine.virtualpath import VirtualPath
from runner.native import _native
from runner.recording.requests import Requests
from runner.replay.fed import Difference, Fed
from runner.replay.recording import Exit, Recording
from vmspec.bundle.inside import ROOT
from vmspec.devices.regions import Region
from vmspec.document import Document
from vmspec.plan import memory_map, resources, virtual
from vmspec.plan.plan import PlannedDevice
from vmspec.trace import keys

ffi, lib = _native.ffi, _native.lib

PINS = 8  # of one interrupt controller


class Place(NamedTuple):
    """Where an address leads: a device by its index, its region, and ``room`` bytes until the region's end."""

    device: int
    region: Region
    offset: int
    room: int


class NoBus:
    """A bus whose vCPU loop answers nothing: each access goes to the device. It has the bits that both may change."""

    def __init__(self) -> None:
        self._bits: dict[tuple[str, int], int] = {}

    def change(self, region: str, offset: int, set: int = 0, clear: int = 0, size: int = 1) -> int:
        """Clear and set bits of a register, and return what it is then."""
        self._bits[region, offset] = value = self._bits.get((region, offset), 0) & ~clear | set
        return value

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
    device has ended the run. ``disk`` opens the disk of a device, None: its image is not there. ``unmodelled`` has the
    devices without a model, with the reason: such disks, and classes of a user's. Close it."""

    def __init__(
        self, recording: Recording, disk: Callable[[PlannedDevice], Disk | None] = lambda planned: None
    ) -> None:
        spec = Document(recording.spec, ROOT, file=recording.path / keys.SPEC).spec()
        self._slots = memory_map.slots(spec.vm.memory)
        time = virtual.planned(spec, [])
        self.step, self._tsc_step = time.step, time.tsc_step
        self._tsc_state = ffi.new("uint64_t *", tsc_state(time.seed))
        self.planned = resources.devices(spec, self._slots, irqchip=False, pit=False, problems=[])
        self.counter = next((device.name for device in self.planned if device.kind == "tsc"), None)
        self._disk = disk
        self.unmodelled: dict[str, str] = {}
        self._wires: list[int] = []  # interrupts of devices without a model
        self._fed: Fed | None = None
        if any(device.transport is not None for device in self.planned):
            names = [device.name for device in self.planned]
            self._fed = Fed(recording, self._slots, names, self.unmodelled)
        self.now = 0
        self.output = False
        self.ended: str | None = None
        self._due: list[int | None] = [None for _ in self.planned]
        self._regions = {
            space: sorted(
                (region.start, index, region)
                for index, device in enumerate(self.planned)
                for region in device.regions
                if region.space == space and region.start is not None
            )
            for space in ("port", "mmio")
        }
        self.devices: list[Device | None] = []
        for index, planned in enumerate(self.planned):
            self.devices.append(self._made(index, planned))

    def _made(self, index: int, planned: PlannedDevice) -> Device | None:
        board = Board(Path(), self._slots)
        if "class" in planned.options:
            self._without(planned, "is a class of its author's")
            return None
        if planned.kind == "virtio-blk":
            if (disk := self._disk(planned)) is None:
                self._without(planned, "has an image that was not found: name its folder with --images DIR")
                return None
            board = board._replace(backend=lambda: disk)
        if planned.kind == "virtio-net":
            link = Relayed(planned.options)
            board = board._replace(backend=lambda: link)
        device = make(planned, board)
        if isinstance(device, I8259):
            self.controller = device
        services: dict[str, Any] = {
            "bus": NoBus(),
            "irq": Line(self, None if planned.kind == "i8259" else planned.irq),
            "msi": lambda: Line(self, None),
            "memory": None if self._fed is None else self._fed.memory,
            "virtqueue": partial(self._queue, index),
            "data_path": partial(self._path, planned),
            "output": lambda data: None,
            "end": self._end,
            "clock": self,
            "after": partial(self._after, index),
            "intr": self._intr,
        }
        device.attach(Services(**services))
        return device

    def _without(self, planned: PlannedDevice, why: str) -> None:
        """The device has no model: its interrupts are taken to come as they did."""
        self.unmodelled[planned.name] = why
        if planned.irq is not None:
            self._wires.append(planned.irq)

    def close(self) -> None:
        """Close the devices."""
        for device in self.devices:
            if device is not None:
                device.close()
        if self._fed is not None:
            self._fed.close()

    # The devices' services

    def _queue(self, device: int, number: int, kind: str) -> Queue:
        assert self._fed is not None
        return Queue(self._fed.memory, Requests(), device, number, kind)

    def _path(self, planned: PlannedDevice, native: Native, queues: Sequence[Queue]) -> VirtualPath:
        options = planned.options
        return VirtualPath(native, queues, self, options.get("latency", 0), options.get("bandwidth", 0))

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

    def place(self, space: str, address: int) -> Place | None:
        """Where an address of a space leads; None: no region is there."""
        for start, index, region in self._regions[space]:
            if start <= address < start + region.size:
                return Place(index, region, address - start, start + region.size - address)
        return None

    def room(self, space: str, address: int) -> int:
        """Bytes without a region from an address on."""
        return min((start - address for start, _, _ in self._regions[space] if start > address), default=1 << 16)

    def loads_tsc(self, exit: Exit) -> bool:
        """Whether the exit reads the device that stands for the TSC, as RDTSC does."""
        return self.counter is not None and exit.loads_tsc(self.counter)

    def passes(self, exit: Exit) -> None:
        """Let the time pass that the exit takes."""
        self.now += lib.virtual_tsc_step(self._tsc_state, self._tsc_step) if self.loads_tsc(exit) else self.step

    def begin(self, exit: int) -> Iterator[Difference]:
        """The guest has made this exit: the models find in its memory what devices have read there."""
        return iter(()) if self._fed is None else self._fed.begin(exit)

    def end(self) -> Iterator[Difference]:
        """What the models have done to the guest's memory otherwise than the devices."""
        return iter(()) if self._fed is None else self._fed.end()

    def _acting(self, index: int) -> AbstractContextManager[None]:
        return nullcontext() if self._fed is None else self._fed.acting(index)

    def read(self, place: Place, size: int) -> int | None:
        """A read of the guest's; None: no model answers it."""
        if (device := self.devices[place.device]) is None:
            return None
        with self._acting(place.device):
            return device.read(place.region.name, place.offset, size)

    def write(self, place: Place, size: int, value: int) -> None:
        """A write of the guest's."""
        if (device := self.devices[place.device]) is not None:
            with self._acting(place.device):
                device.write(place.region.name, place.offset, size, value)

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
                with self._acting(index):
                    device.tick()

    def receive(self, name: str, port: int | None, data: bytes) -> None:
        """Give a device its input, or without a port do what the host asked of it, such as to press its button."""
        for index, (planned, device) in enumerate(zip(self.planned, self.devices, strict=True)):
            if planned.name != name or device is None:
                continue
            with self._acting(index):
                if port is not None:
                    device.ends()[port].receive(data)
                elif (ask := asked(data.decode())) is not None:
                    if (take := getattr(device.model(), ask.method, None)) is None:
                        raise DeviceError(f"the recording's {name} takes no {data.decode()!r}")
                    take(*ask.arguments)

    @property
    def foresees(self) -> bool:
        """Whether all interrupts are those of models."""
        return not self._wires

    def presume(self, vector: int) -> None:
        """Devices without a model have interrupted, if one of them may have caused an interrupt of this vector."""
        for irq in self._wires:
            if irq % PINS == vector % PINS:
                Line(self, irq).pulse()

    def acknowledge(self) -> int:
        """The processor takes an interrupt: its vector."""
        return self.controller.acknowledge()
