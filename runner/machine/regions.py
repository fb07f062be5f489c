"""Where the devices' regions lie on the buses while vCPUs run."""

import threading
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from runner.devices.device import MapError
from runner.native import _native
from vmspec.devices.regions import SPACES, Region
from vmspec.plan.plan import PlannedDevice

ffi = _native.ffi
lib = _native.lib


class Place(NamedTuple):
    """A region of the machine, and the index of its device. The place's own index is its number on the C bus."""

    device: int
    region: Region


def places(planned: Sequence[PlannedDevice]) -> list[Place]:
    """All regions of all devices, in the plan's order."""
    return [Place(index, region) for index, device in enumerate(planned) for region in device.regions]


class Doorbell(NamedTuple):
    """A register whose writes KVM answers: it writes an eventfd."""

    offset: int
    size: int
    event: int


class IOEventFD(Protocol):
    """See :meth:`runner.kvm.vm.VM.ioeventfd`."""

    def __call__(self, fd: int, address: int, size: int, present: bool) -> None: ...


def no_ioeventfd(fd: int, address: int, size: int, present: bool) -> None:
    """That of a machine without KVM."""
    raise NotImplementedError


class Regions:
    """The map of the C bus: which region lies where. ``taken`` belongs to the machine itself. Doorbells move with their
    region.

    Each change makes a new map, which replaces the old one in one step: an access sees all regions as before a change,
    or all as after it.
    """

    def __init__(
        self,
        bus: "_native.BusPointer",
        planned: Sequence[PlannedDevice],
        taken: Sequence[Region],
        ioeventfd: IOEventFD = no_ioeventfd,
    ) -> None:
        self._bus = bus
        self._names = [device.name for device in planned]
        self._places = places(planned)
        self._taken = taken
        self._starts = [place.region.start for place in self._places]  # None: not mapped
        self._ioeventfd = ioeventfd
        self._doorbells: dict[int, list[Doorbell]] = {}  # by region
        self._lock = threading.Lock()  # guards the above; no other lock is taken under it
        self._put(self._starts)

    def start(self, number: int) -> int | None:
        """Where a region begins, None: it is not mapped."""
        return self._starts[number]

    def map(self, number: int, start: int | None) -> None:
        """Map a region at ``start``, None: unmap it. Raises MapError, and then changes nothing."""
        region = self._places[number].region
        if region.start is not None:
            raise MapError(f"{self._named(number)} has a fixed place, {_span(region, region.start)}")
        with self._lock:
            if start is not None:
                self._check(number, start)
            starts = list(self._starts)
            starts[number] = start
            self._ring(number, self._starts[number], present=False)
            self._put(starts)
            self._starts = starts
            self._ring(number, start, present=True)

    def add_doorbell(self, number: int, doorbell: Doorbell) -> None:
        """Let KVM answer writes of a register of a region in memory. Raises HostError or KvmError."""
        with self._lock:
            self._doorbells.setdefault(number, []).append(doorbell)
            if (start := self._starts[number]) is not None:
                self._ioeventfd(doorbell.event, start + doorbell.offset, doorbell.size, present=True)

    def _ring(self, number: int, start: int | None, present: bool) -> None:
        """Let KVM answer, or no longer, writes of a region's doorbells where the region is. Meanwhile they are exits,
        which ring too."""
        if start is not None:
            for doorbell in self._doorbells.get(number, ()):
                self._ioeventfd(doorbell.event, start + doorbell.offset, doorbell.size, present)

    def _check(self, number: int, start: int) -> None:
        region = self._places[number].region
        where = f"{self._named(number)} cannot be mapped at {_span(region, start)}"
        if region.size & region.size - 1 or start % region.size:
            raise MapError(f"{where}: its size must be a power of two, and the address a multiple of it")
        if not 0 <= start <= SPACES[region.space] - region.size:
            raise MapError(f"{where}: there is no such {region.space} address")
        for there in self._taken:
            if there.start is not None and _overlap(region, start, there, there.start):
                raise MapError(f"{where}: {there.name} is there ({_span(there, there.start)})")
        for other, (place, at) in enumerate(zip(self._places, self._starts, strict=True)):
            if other != number and at is not None and _overlap(region, start, place.region, at):
                raise MapError(f"{where}: {self._named(other)} is there ({_span(place.region, at)})")

    def _put(self, starts: Sequence[int | None]) -> None:
        """Publish the map to the vCPUs."""
        spaces: dict[str, list[tuple[int, int, int]]] = {space: [] for space in SPACES}
        for number, (place, start) in enumerate(zip(self._places, starts, strict=True)):
            if start is not None:
                spaces[place.region.space].append((start, start + place.region.size, number))
        ports, mmio = sorted(spaces["port"]), sorted(spaces["mmio"])  # no exit is an access to the space "pci"
        ranges = ffi.new("struct bus_range[]", [*ports, *mmio])
        if not lib.bus_remap(self._bus, ranges, len(ports), len(mmio)):
            raise MemoryError

    def _named(self, number: int) -> str:
        device, region = self._places[number]
        return f"region {region.name!r} of {self._names[device]}"


def _span(region: Region, start: int) -> str:
    return f"{region.space} {start:#x}-{start + region.size - 1:#x}"


def _overlap(region: Region, start: int, other: Region, at: int) -> bool:
    return other.space == region.space and start < at + other.size and at < start + region.size
