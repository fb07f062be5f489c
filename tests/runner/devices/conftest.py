"""A machine for one device: bus, line and outputs, with no KVM."""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from select import select
from typing import Any
from weakref import finalize

import pytest

from runner.devices.device import Device, MapError
from runner.devices.services import Configuration, DataPath, Native, NoFunctions, Services
from runner.devices.virtio.mmio import MMIO
from runner.devices.virtio.pci import PCI
from runner.machine.queueworker import QueueWorker
from runner.machine.virtqueue import Queue
from runner.memory import GuestMemory
from runner.native._native import ffi, lib
from runner.recording.requests import Requests
from tests.fakes.fakeclock import FakeClock


def ready(eventfd: int) -> bool:
    """Whether it was written since it was read."""
    return bool(select([eventfd], [], [], 0)[0])


class Message:
    """A message of the machine's: what it is routed to, and how often it was sent to where."""

    def __init__(self, guest: "Guest") -> None:
        self._guest = guest
        self._eventfd: int | None = None
        self.routed: tuple[int, int] | None = None
        guest.sources.append(self)

    def route(self, address: int, data: int) -> None:
        assert (address, data) != self.routed  # each telling is a call of the kernel's
        self.collect()
        self.routed = (address, data)

    def pulse(self) -> None:
        assert self.routed is not None
        self._guest.sent.append(self.routed)

    def set(self, level: bool) -> None:
        raise NotImplementedError

    def eventfd(self) -> int | None:
        if self._eventfd is None and self.routed is not None:
            self._eventfd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            finalize(self._guest, os.close, self._eventfd)
        return self._eventfd

    def collect(self) -> None:
        """Send what was sent by the eventfd."""
        if self._eventfd is not None and ready(self._eventfd):
            for _ in range(os.eventfd_read(self._eventfd)):
                self.pulse()


class Guest:
    """Accesses a device as the vCPU loop does: published reads and queued writes need no Python.

    With ``alone`` every access goes to the device's Python side instead. :meth:`let_pass` winds the clock. A register
    is named by its number; ``region`` is the only region of a device that does not say how its registers are numbered,
    or ``firsts`` has the number of each region's first register.
    """

    def __init__(
        self,
        device: Device,
        alone: bool = False,
        clock: FakeClock | None = None,
        region: str = "registers",
        memory: GuestMemory | None = None,
        firsts: Mapping[str, int] | None = None,
        configuration: Configuration = NoFunctions(),  # noqa: B008 (it has no state)
    ) -> None:
        self.firsts: Mapping[str, int] = firsts or getattr(device, "regions", {region: 0})
        self._highest = sorted(self.firsts.items(), key=lambda item: -item[1])
        self.mapped: dict[str, int] = {}
        self.occupied: set[int] = set()  # where a region of another device begins
        self.sources: list[Message] = []
        self.sent: list[tuple[int, int]] = []
        self.device = device
        self.clock = clock or FakeClock()
        self.alone = alone
        self.published: dict[tuple[int, int], int] = {}
        self.delivery: dict[tuple[int, int], str] = {}
        self.masks: dict[tuple[int, int], int] = {}
        self.hurry = False
        self.queue: list[tuple[int, int, bytes]] = []
        self.cells: dict[tuple[int, int], Any] = {}  # shadows that several threads change
        self.cleared: dict[tuple[int, int], tuple[int, int]] = {}  # the shadow in which a write clears bits
        self.paths: list[QueueWorker] = []
        self.bells: dict[tuple[int, int], DataPath] = {}
        self._eventfd: int | None = None
        self.level = False
        self._edges = 0
        self.seen_at_edge: dict[tuple[int, int], int] = {}  # what was published when the line last rose
        self.text = b""
        self.port_text: dict[int, bytes] = {}
        self.ends: list[tuple[str, int | None]] = []
        self.direct: list[bool] = []  # whether reads reach memory and not the device, each time that it was said
        self._due: int | None = None
        self.calls = 0
        self.memory = memory or self
        self.notices: list[str] = []
        device.attach(
            Services(
                bus=self,
                irq=self,
                msi=lambda: Message(self),
                memory=self.memory,
                output=self._output,
                end=self._end,
                clock=self.clock,
                after=self._after,
                virtqueue=partial(Queue, memory, Requests(), 0),
                data_path=self._data_path,
                port_output=self._port_output,
                configuration=configuration,
                direct=lambda region, fd: self.direct.append,
            )
        )

    # The machine's side of the services

    def shadow(self, region: str, offset: int, value: int | None, size: int = 1) -> None:
        offset += self.firsts[region]
        if value is None:
            self.published.pop((offset, size), None)
        else:
            self.published[offset, size] = value

    def bits(self, region: str, offset: int, size: int = 1) -> Any:
        at = offset + self.firsts[region], size
        return self.cells.setdefault(at, ffi.new("uint64_t *", self.published.pop(at, 0)))

    def change(self, region: str, offset: int, set: int = 0, clear: int = 0, size: int = 1) -> int:
        return int(lib.bits_change(self.bits(region, offset, size), set, clear))

    def clears(self, region: str, offset: int, of: int, size: int = 1) -> None:
        first = self.firsts[region]
        self.bits(region, of, size)
        self.cleared[first + offset, size] = first + of, size

    def rings(self, region: str, offset: int, path: DataPath, size: int = 1) -> None:
        self.bells[offset + self.firsts[region], size] = path

    def _data_path(self, native: Native, queues: Sequence[Any]) -> DataPath:
        path = QueueWorker(native, queues, lambda fd: None)
        finalize(self, path.end)
        self.paths.append(path)
        return path

    def troubled(self) -> bool:
        """Whether a data path has met a fault since the last call; the device's tick looks into it then."""
        return any(os.eventfd_read(path.worker.trouble) for path in self.paths if ready(path.worker.trouble))

    def eventfd(self) -> int:
        if self._eventfd is None:
            self._eventfd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            finalize(self, os.close, self._eventfd)
        return self._eventfd

    @property
    def messages(self) -> list[tuple[int, int]]:
        """The messages that were sent: address and data."""
        for source in self.sources:
            source.collect()
        return self.sent

    @property
    def edges(self) -> int:
        """How often the line has risen, or a message was sent."""
        if self._eventfd is not None and ready(self._eventfd):
            self._edges += os.eventfd_read(self._eventfd)
        return self._edges + len(self.messages)

    def writes(self, region: str, offset: int, how: str | None, size: int = 1) -> None:
        offset += self.firsts[region]
        assert how != self.delivery.get((offset, size)), "the bus is told what changes, and that once"
        if how is None:
            self.delivery.pop((offset, size), None)
        else:
            assert how in ("coalesced", "ignored")
            self.delivery[offset, size] = how

    def shadow_writes(self, region: str, offset: int, mask: int | None, size: int = 1) -> None:
        offset += self.firsts[region]
        assert mask != self.masks.get((offset, size))
        if mask is None:
            self.masks.pop((offset, size), None)
        else:
            self.masks[offset, size] = mask

    def map(self, region: str, start: int) -> None:
        assert start != self.mapped.get(region)
        if start in self.occupied:
            raise MapError(f"something is at {start:#x}")
        self.mapped[region] = start

    def unmap(self, region: str) -> None:
        del self.mapped[region]

    def flush_at_once(self, now: bool) -> None:
        assert now != self.hurry
        self.hurry = now

    def set(self, level: bool) -> None:
        assert level != self.level  # each telling is a call of the kernel's
        if level:
            self._edges += 1
            self.seen_at_edge = self.published | {at: int(cell[0]) for at, cell in self.cells.items()}
        self.level = level

    def pulse(self) -> None:
        self._edges += 1
        self.seen_at_edge = self.published | {at: int(cell[0]) for at, cell in self.cells.items()}

    def _output(self, data: bytes) -> None:
        self.text += data

    def _port_output(self, port: int, data: bytes) -> None:
        self.port_text[port] = self.port_text.get(port, b"") + data

    def _end(self, kind: str, status: int | None) -> None:
        self.ends.append((kind, status))

    def _after(self, delay: int | None) -> None:
        assert delay is None or delay >= 0, "a tick in the past: who winds the clock to it would do so for ever"
        self._due = None if delay is None else self.clock.now + delay

    @property
    def wait(self) -> int | None:
        """In how many ns the device wants a tick."""
        return None if self._due is None else self._due - self.clock.now

    # The guest's side

    def read(self, offset: int, size: int = 1) -> int:
        if not self.alone and (offset, size) in self.published:
            return self.published[offset, size]
        if not self.alone and (offset, size) in self.cells:
            return int(self.cells[offset, size][0])
        self.flush()
        self.calls += 1
        return self.device.read(*self.place(offset), size)

    def write(self, offset: int, value: int, size: int = 1) -> None:
        if not self.alone and (offset, size) in self.cleared:
            lib.bits_change(self.cells[self.cleared[offset, size]], 0, value)
            return
        if (path := self.bells.get((offset, size))) is not None:
            path.ring(value)
            return
        mask = None if self.alone else self.masks.get((offset, size))
        if mask is not None and not value & ~mask:
            self.published[offset, size] = value
            self.queue.append((offset, size, value.to_bytes(size, "little")))
            if self.hurry:
                self.flush()
            return
        match self.delivery.get((offset, size)) if not self.alone else None:
            case "ignored":
                return
            case "coalesced":
                self.queue.append((offset, size, value.to_bytes(size, "little")))
                if self.hurry:
                    self.flush()
            case _:
                self.flush()
                self.calls += 1
                self.device.write(*self.place(offset), size, value)
                self._serve()

    def receive(self, data: bytes) -> None:
        self.flush()
        self.device.receive(data)

    def let_pass(self, ns: int) -> None:
        """Let time pass, with the ticks that the device asks for on the way."""
        end = self.clock.now + ns
        while self._due is not None and self._due <= end:
            self.clock.now = max(self.clock.now, self._due)
            self._due = None
            self.device.tick()
        self.clock.now = end

    def elapse(self) -> None:
        """Let the time pass that the device asked for."""
        while self._due is not None:
            self._due = None
            self.flush()
            self.device.tick()

    def flush(self) -> None:
        queue, self.queue = self.queue, []
        for offset, size, data in queue:
            self.device.written(*self.place(offset), size, data)
        if queue:
            self._serve()

    def _serve(self) -> None:
        """The device thread serves the queues of a virtio device at once."""
        if self._due is not None and self._due <= self.clock.now and isinstance(self.device, MMIO | PCI):
            self._due = None
            self.device.tick()

    def place(self, register: int) -> tuple[str, int]:
        """Region and offset of a register."""
        for region, first in self._highest:  # a few at most
            if first <= register:
                return region, register - first
        raise ValueError(f"no region has register {register:#x}")


@pytest.fixture(scope="session")
def plug() -> Callable[..., Guest]:
    """Put a device into a machine and get the guest that accesses it."""
    return Guest
