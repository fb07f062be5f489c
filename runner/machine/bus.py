"""The Python side of the buses: where regions lie, which device answers an access, and the flush of queued writes."""

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from runner.devices.device import Device, DeviceError, LostError, raised
from runner.devices.names import ChangedError, Interpreter
from runner.devices.services import Clock, DataPath, Native
from runner.devices.state import State, StateError
from runner.machine.asking import Asking
from runner.machine.inputs import Inputs
from runner.machine.queueworker import FINISHING, QueueWorker
from runner.machine.regions import Doorbell, IOEventFD, Regions, no_ioeventfd, places
from runner.machine.virtualpath import VirtualPath
from runner.native import _native
from vmspec.devices.regions import Region
from vmspec.plan.plan import PlannedDevice

if TYPE_CHECKING:
    from runner.machine.dma import DMA

ffi = _native.ffi
lib = _native.lib

# ms that coalesced writes may wait for more, unless their device wants them at once: each wake-up costs about 50 us.
# Bulk output may wait longer, unnoticed: a guest that floods its console then needs a fifth of the wake-ups.
LINGER, BULK_LINGER = 20, 100
BULK = 512  # bytes of one flush
ROUNDS = 1024  # ticks at the end of a run: each serves a queue's length of chains
WRITES = {None: lib.WRITE_PYTHON, "coalesced": lib.WRITE_COALESCED, "ignored": lib.WRITE_IGNORED}


class DeviceBus:
    """A device's own bus (the :class:`runner.devices.device.Bus` protocol)."""

    def __init__(self, buses: "Buses", index: int) -> None:
        self._buses = buses
        self._bus = buses.bus
        self._index = index
        self._regions = {place.region.name: n for n, place in enumerate(buses.places) if place.device == index}

    def shadow(self, region: str, offset: int, value: int | None, size: int = 1) -> None:
        """Let C answer reads of a register from its shadow; None: reads go to Python."""
        mask = (1 << 8 * size) - 1
        here = self._register(region, offset, size)
        self._took(lib.bus_shadow(self._bus, here, offset, size, value is not None, (value or 0) & mask))

    def writes(self, region: str, offset: int, how: str | None, size: int = 1) -> None:
        """Let C coalesce or ignore writes of a register; None: writes go to Python."""
        self._took(lib.bus_writes(self._bus, self._register(region, offset, size), offset, size, WRITES[how]))

    def shadow_writes(self, region: str, offset: int, mask: int | None, size: int = 1) -> None:
        """Let C take writes that set no bit outside ``mask``; None: writes go to Python."""
        if mask is None:
            self.writes(region, offset, None, size)
        else:
            self._took(lib.bus_shadow_writes(self._bus, self._register(region, offset, size), offset, size, mask))

    def bits(self, region: str, offset: int, size: int = 1) -> Any:
        """The shadow of a register. Raises DeviceError if it has none."""
        bits = lib.bus_bits(self._bus, self._register(region, offset, size), offset, size)
        if bits == ffi.NULL:
            raise DeviceError(f"region {region!r} has no shadow of {size} bytes at offset {offset:#x}")
        return bits

    def change(self, region: str, offset: int, set: int = 0, clear: int = 0, size: int = 1) -> int:
        """Clear and set bits of a shadow in one step, and return what it is then."""
        return int(lib.bits_change(self.bits(region, offset, size), set, clear))

    def clears(self, region: str, offset: int, of: int, size: int = 1) -> None:
        """Let C clear bits of the register at ``of`` on writes."""
        self._took(lib.bus_clears(self._bus, self._register(region, offset, size), offset, size, of))

    def rings(self, region: str, offset: int, path: DataPath, size: int = 1) -> None:
        """Let writes ring the bell of a data path."""
        here = self._register(region, offset, size)
        self._took(lib.bus_rings(self._bus, here, offset, size, path.bell))
        if self._buses.planned[self._index].options.get("notify") == "ioeventfd":
            self._buses.regions.add_doorbell(here, Doorbell(offset, size, path.doorbell()))

    def map(self, region: str, start: int) -> None:
        """Map a region, or move it. Raises MapError."""
        self._buses.regions.map(self._region(region), start)

    def unmap(self, region: str) -> None:
        """Unmap a region."""
        self._buses.regions.map(self._region(region), None)

    def flush_at_once(self, now: bool) -> None:
        """Whether coalesced writes are flushed at once."""
        self._bus.devices[self._index].flush_at_once = now

    def _region(self, name: str) -> int:
        if name not in self._regions:
            known = ", ".join(map(repr, self._regions)) or "no region"
            raise DeviceError(f"device {self._buses.planned[self._index].name} has {known}, not {name!r}")
        return self._regions[name]

    def _register(self, region: str, offset: int, size: int) -> int:
        """The number of the region. Raises DeviceError if it has no such register."""
        here = self._region(region)
        if size not in (1, 2, 4, 8) or not 0 <= offset <= self._buses.places[here].region.size - size:
            raise DeviceError(f"region {region!r} has no register of {size} bytes at offset {offset:#x}")
        return here

    def _took(self, taken: bool) -> None:
        if not taken:
            raise DeviceError(f"a region has at most {lib.BUS_REGISTERS} shadow registers")


class Guest:
    """A device's port that takes input, as its source sees it (:class:`runner.backends.input.Guest`)."""

    def __init__(self, buses: "Buses", index: int, port: int) -> None:
        self._buses = buses
        self._index, self._port = index, port

    def call(self, errand: Callable[[], None]) -> None:
        """Make the thread that gives devices their input call ``errand``."""
        self._buses.enter(errand)

    def end(self) -> None:
        """There is no more input."""
        self._buses.listen(-1)

    def room(self, later: Callable[[], None]) -> int:
        """See :meth:`Buses.room`."""
        return self._buses.room(self._index, later, self._port)

    def receive(self, data: bytes) -> None:
        """Give the device input."""
        self._buses.receive(self._index, data, self._port)


class Buses:
    """The C bus of a plan and the devices on it; no region is mapped over ``taken``. ``ioeventfd`` makes KVM answer the
    writes that tell a device of its queues, if the device's table says so. ``clock`` drives the timers.
    Timers and the host's bytes come in through ``inputs``. ``failed`` is called when a device raises. ``dma`` keeps
    what devices write to the guest's memory."""

    def __init__(
        self,
        planned: Sequence[PlannedDevice],
        clock: Clock,
        inputs: Inputs,
        failed: Callable[[DeviceError], None],
        taken: Sequence[Region] = (),
        ioeventfd: IOEventFD = no_ioeventfd,
        dma: "DMA | None" = None,
    ) -> None:
        self.planned = planned
        self._clock = clock
        self._inputs = inputs
        self.dma = dma
        self.devices: list[Device] = []
        self._workers: list[tuple[int, QueueWorker]] = []  # with the device's index
        self._held = False
        self._closed = 0  # the number of bytes
        self._failed = failed
        self.own = [device.name for device in planned if "class" in device.options]  # the users' devices
        # As it is before the devices are made.
        self.interpreter = Interpreter(os, sys, threading, time, own=bool(self.own))
        self._asking = [
            Asking(partial(self._fail, index), self.interpreter if device.name in self.own else None, dma, index)
            for index, device in enumerate(planned)
        ]
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.places = places(planned)
        self.bus = lib.bus_new(len(self.places), len(planned), self._event)
        if self.bus == ffi.NULL:
            os.close(self._event)
            raise MemoryError
        for to, place in zip(self.bus.regions[0 : len(self.places)], self.places, strict=True):
            to.device, to.number = place.device, planned[place.device].regions.index(place.region)
        self.regions = Regions(self.bus, planned, taken, ioeventfd)
        self._timers: list[int | None] = [None for _ in planned]  # when to tick, on the clock's monotonic time
        # With virtual time: called with the time of the next tick; the vCPU's thread then calls tick(), no other.
        self.alarm: Callable[[int | None], None] | None = None
        # The same: called when input waits for that thread, and with whether more may come.
        self.ask: Callable[[], None] = lambda: None
        self.listens: Callable[[bool], None] = lambda sources: None
        self._sources = 0  # of input
        # Writes taken from the queue but not yet handed over. The holder of the lock hands them over. This lock is
        # taken before a device's own lock, never while one is held.
        self._handing = threading.RLock()
        self._pieces = ffi.new("struct bus_piece[]", lib.BUS_PIECES)
        self._bytes = ffi.new("uint8_t[]", lib.BUS_QUEUE)
        self._next, self._taken, self._at = 0, 0, 0  # pieces given, pieces taken, bytes given
        self.giving: int | None = None  # the device that is being given its queued writes
        self._bulk = False  # the last flush was large
        self._errands: deque[Callable[[], None]] = deque()
        self._entering: deque[Callable[[], None]] = deque()  # what brings input, with virtual time
        self._hungry: dict[tuple[int, int], Callable[[], None]] = {}  # by device and port without room for input

    def exits(self) -> list[int]:
        """How many exits each device has answered."""
        return [int(device.exits) for device in self.bus.devices[0 : len(self.planned)]]

    @contextmanager
    def holding(self, index: int) -> Iterator[Device]:
        """The device with that index, with its lock held."""
        with self._asking[index].lock:
            yield self.devices[index]

    def end_of(self, index: int) -> DeviceBus:
        """The bus of the device with that index."""
        return DeviceBus(self, index)

    def guest(self, index: int, port: int = 0) -> Guest:
        """The device with that index, or a port of it, as a new source of its input sees it."""
        self.listen(1)
        return Guest(self, index, port)

    def data_path(
        self, index: int, watch: Callable[[int, Callable[[], None]], None], native: Native, queues: Sequence[Any]
    ) -> DataPath:
        """A data path of a device. ``watch`` makes a loop call a function whenever a descriptor is readable."""
        if self.alarm is not None:
            options = self.planned[index].options
            return VirtualPath(native, queues, self._clock, options.get("latency", 0), options.get("bandwidth", 0))
        worker = QueueWorker(native, queues, lambda fd: watch(fd, partial(self._troubled, index, fd)))
        self._workers.append((index, worker))
        return worker

    def _troubled(self, index: int, event: int) -> None:
        """A queue has a fault: the device finds it in its tick."""
        os.eventfd_read(event)
        self.call(partial(self._tick_now, index))

    def _tick_now(self, index: int) -> None:
        with self._asking[index].lock:
            self.after(index, 0)

    def hold(self) -> None:
        """Deliver everything that is queued, and let every data path rest until :meth:`release`. No vCPU runs."""
        if self.alarm is None:
            self.drain()
        else:
            self.flush()
        self._held = True
        for _, worker in self._workers:
            worker.hold()

    def release(self) -> None:
        """Undo :meth:`hold`, if they are held. Each device looks then for what is not as it was saved. vCPUs may run:
        what a device says to another process, it says with its lock held."""
        for index, worker in self._workers if self._held else ():
            with self._asking[index].lock:
                worker.release()
            self.call(partial(self._tick_now, index))
        self._held = False

    def answer(self, access: "_native.VcpuAccess") -> None:
        """Let a device answer an access; called by the vCPU's thread. Queued writes of any device are handed over
        first: both devices may print to the same place."""
        self.flush()
        index, region = self.places[access.region]
        size, offset = access.size, access.offset
        data = ffi.buffer(access.data, size * access.count)
        device = self.devices[index]
        answered = False
        with self._asking[index]:
            for at in range(0, len(data), size):
                if access.write:
                    device.write(region.name, offset, size, int.from_bytes(data[at : at + size], "little"))
                else:
                    value = device.read(region.name, offset, size)
                    if not isinstance(value, int):
                        raise TypeError(f"read() returned {value!r}, not an int")
                    data[at : at + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")
            answered = True
        if not answered and not access.write:
            data[:] = b"\xff" * len(data)
        if self._hungry:
            self._feed()

    def receive(self, index: int, data: bytes, port: int = 0) -> None:
        """Give a device, or a port of it, input from the host."""
        self._inputs.admit(
            "bytes", lambda: self.do(index, lambda device: device.ends()[port].receive(data)), index, port, data
        )

    def do(self, index: int, what: Callable[[Any], None]) -> None:
        """Do something to a device, in the guest's order."""
        self.flush()
        with self._asking[index]:
            what(self.devices[index])

    def command(self, index: int, text: str, what: Callable[[Any], None]) -> None:
        """Do to a device what the host has asked for, in words. While the guest runs, the device thread calls this."""
        made = self.devices[index].model()
        self._inputs.admit("command", lambda: self.do(index, lambda _: what(made)), index, data=text.encode())

    def room(self, index: int, later: Callable[[], None], port: int = 0) -> int:
        """Bytes of input that a device takes now. If it takes none, the device thread calls ``later`` once it does. It
        checks after whatever may have made room: each access that Python answers, each flush of queued writes, each
        tick."""
        self._hungry[index, port] = later  # before the check: room made from now on counts
        room = -1  # it has failed, and is asked no more
        with self._asking[index]:
            room = self.devices[index].ends()[port].room()
        if not room:
            return 0
        self._hungry.pop((index, port), None)
        return max(room, 0)

    def _feed(self) -> None:
        """Call those that wait for room, if there is some now."""
        for (index, port), later in tuple(self._hungry.items()):
            if self.room(index, later, port):
                self.enter(later)

    def listen(self, more: int) -> None:
        """There are so many more sources of input."""
        self._sources += more
        self.listens(self._sources > 0)

    def enter(self, errand: Callable[[], None]) -> None:
        """Call something that brings the guest input: the device thread does, or with virtual time the vCPU's thread
        at the guest's next exit."""
        if self.alarm is None:
            self.call(errand)
        else:
            self._entering.append(errand)
            self.ask()

    def after(self, index: int, delay: int | None) -> None:
        """Tick a device in ``delay`` ns, None: never. The device's lock is held."""
        self._timers[index] = None if delay is None else self._clock.monotonic() + max(0, delay)
        if self.alarm is None:
            self.wake()
        else:
            self.alarm(self._earliest())

    def call(self, errand: Callable[[], None]) -> None:
        """Make the device thread call something."""
        self._errands.append(errand)
        self.wake()

    def deliver(self) -> None:
        """Wait until something is queued, a timer is due or there is something to call, then do it all; the body of the
        device thread."""
        due = self._earliest() if self.alarm is None else None
        linger = BULK_LINGER if self._bulk else LINGER
        lib.bus_wait(self.bus, linger, -1 if due is None else max(0, due - self._clock.monotonic()))
        self._bulk = self.flush() >= BULK
        if self.alarm is None:
            self._tick()
        if self._hungry:
            self._feed()
        while self._errands:
            self._errands.popleft()()

    def tick(self) -> None:
        """Give devices the input that waits, and tick those whose time has come; for the thread of a vCPU with virtual
        time."""
        while self._entering:
            self._entering.popleft()()
        self._tick()
        if self._hungry:
            self._feed()
        assert self.alarm is not None
        self.alarm(self._earliest())

    def _earliest(self) -> int | None:
        """When the next device wants a tick."""
        return min((timer for timer in self._timers if timer is not None), default=None)

    def _tick(self, which: Callable[[int], bool] = lambda index: True) -> None:
        now = self._clock.monotonic()
        for index, device in enumerate(self.devices):
            if not self._due(index, now) or not which(index):
                continue
            with self._asking[index]:
                if self._due(index, now):  # unless the device has requested another time since
                    self._timers[index] = None
                    self._inputs.admit("timer", device.tick, index)

    def _due(self, index: int, now: int) -> bool:
        timer = self._timers[index]
        return timer is not None and timer <= now

    def flush(self) -> int:
        """Hand over everything that is queued, in the order of the writes; return the number of bytes."""
        with self._handing:
            begin = self._at
            self._hand_over()  # the rest of an interrupted call
            total = self._at - begin
            self._next, self._taken, self._at = 0, lib.bus_take(self.bus, self._pieces, self._bytes), 0
            self._hand_over()
            return total + self._at

    def drain(self) -> None:
        """Deliver everything that is queued, and let virtio devices serve the queues that were notified. No vCPU runs.
        What is left while the devices are held belongs to a guest that may go on elsewhere, from a snapshot."""
        if self._held:
            return
        for _ in range(ROUNDS):
            self.flush()
            now = self._clock.monotonic()
            if not any(each.transport and self._due(index, now) for index, each in enumerate(self.planned)):
                return
            self._tick(lambda index: self.planned[index].transport is not None)

    def wake(self) -> None:
        """Make :meth:`deliver` return now."""
        self.bus.hurry = 1  # otherwise the event counts as queued writes, which wait for more
        os.eventfd_write(self._event, 1)

    def _hand_over(self) -> None:
        while self._next < self._taken:
            piece = self._pieces[self._next]
            index, region = self.places[piece.region]
            data = bytes(ffi.buffer(self._bytes + self._at, piece.length))
            self._next += 1
            self._at += piece.length
            self.giving = index
            with self._asking[index]:
                self.devices[index].written(region.name, piece.offset, piece.size, data)
            self.giving = None
            self.bus.flushed = piece.number

    def _fail(self, index: int, error: BaseException) -> None:
        told = isinstance(error, ChangedError | LostError)
        what = str(error) if told else f"raised {raised(error, self.devices[index])}"
        cls = LostError if isinstance(error, LostError) else DeviceError
        failure = cls(f"device {self.planned[index].name} {what}")
        failure.__cause__ = error
        self._failed(failure)

    # The devices' life. No vCPU may run. A device that raises does not end the run here.

    def reset(self) -> None:
        """Reset every device."""
        self.flush()
        for asking, device in zip(self._asking, self.devices, strict=True):
            with asking.lock, self.interpreter:
                device.reset()
        self._settle()

    def save(self) -> dict[str, State]:
        """The state of each device, by its name. Raises StateError if one cannot be saved."""
        return {planned.name: self.state(index) for index, planned in enumerate(self.planned)}

    def state(self, index: int) -> State:
        """The state of one device. Raises StateError if it cannot be saved, and whatever a user's device raises."""
        self.flush()
        with self._asking[index].lock, self.interpreter:
            return self.devices[index].save()

    def load(self, states: Mapping[str, State]) -> None:
        """Let every device continue from what :meth:`save` returned. Raises StateError, which says whose state it is
        about."""
        self.flush()
        names = [planned.name for planned in self.planned]
        if names != list(states):
            raise StateError(f"the saved devices are {', '.join(states)}; this machine's are {', '.join(names)}")
        for asking, name, device in zip(self._asking, names, self.devices, strict=True):
            with asking.lock, self.interpreter:
                try:
                    device.load(states[name])
                except StateError as error:
                    raise StateError(f"device {name}: {error}") from error
        self._settle()

    def _settle(self) -> None:
        """Let PCI functions map what had no place while another one, which has moved since, was there: each write to
        configuration space tries again, and the first register of a function cannot be written."""
        for index, region in self.places:
            if region.space == "pci":
                with self.holding(index) as function:
                    function.write(region.name, 0, 1, 0)

    def close_devices(self) -> None:
        """Close each device once; no vCPU may run any more. Errors of devices are reported as at any other time."""
        latest = time.monotonic() + FINISHING
        while self._workers:
            index, worker = self._workers.pop()
            worker.end(max(0, latest - time.monotonic()))
            with self._asking[index]:
                self.devices[index].tick()  # what its data path has reported last
        while self._closed < len(self.devices):
            index, self._closed = self._closed, self._closed + 1
            with self._asking[index], self.interpreter:
                self.devices[index].close()

    def close(self) -> None:
        """Close the devices and free the C side."""
        self.close_devices()
        lib.bus_free(self.bus)
        os.close(self._event)
