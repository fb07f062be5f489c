"""The buses as Python sees them: which device answers an access, and the handing over of what was queued."""

import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

from runner.devices.device import Device, DeviceError, raised
from runner.devices.services import Clock
from runner.native import _native
from vmspec.plan.plan import PlannedDevice

ffi = _native.ffi
lib = _native.lib

# ms that queued writes may wait for more, unless their device is urgent: each wake costs some 50 us. While output comes
# in bulk nobody sees a tenth of a second, and a guest that floods its console has a fifth of the wakes.
LINGER, BULK_LINGER = 20, 100
BULK = 512  # bytes of one handing over
WRITES = {None: lib.WRITE_PYTHON, "queued": lib.WRITE_QUEUED, "discarded": lib.WRITE_DISCARDED}


class DeviceBus:
    """A device's own end of the bus (the :class:`runner.devices.device.Bus` protocol)."""

    def __init__(self, bus: Any, index: int) -> None:
        self._bus = bus
        self._index = index

    def publish(self, offset: int, value: int | None, size: int = 1) -> None:
        """Let C answer reads of a register with ``value``; None: reads come to Python."""
        mask = (1 << 8 * size) - 1
        if not lib.bus_publish(self._bus, self._index, offset, size, value is not None, (value or 0) & mask):
            raise DeviceError("a device publishes at most 64 registers")

    def deliver(self, offset: int, how: str | None, size: int = 1) -> None:
        """Let C queue or discard writes of a register; None: writes come to Python."""
        if not lib.bus_deliver(self._bus, self._index, offset, size, WRITES[how]):
            raise DeviceError("a device publishes at most 64 registers")

    def latch(self, offset: int, mask: int | None, size: int = 1) -> None:
        """Let C take writes that set no bit outside ``mask``; None: writes come to Python."""
        if mask is None:
            self.deliver(offset, None, size)
        elif not lib.bus_latch(self._bus, self._index, offset, size, mask):
            raise DeviceError("a device publishes at most 64 registers")

    def urgent(self, now: bool) -> None:
        """Whether queued writes are handed over at once."""
        self._bus.devices[self._index].urgent = now


class Buses:
    """The C bus of a plan and the devices on it. Timers go by ``clock``; ``failed`` is told of a device that raised."""

    def __init__(self, planned: Sequence[PlannedDevice], clock: Clock, failed: Callable[[DeviceError], None]) -> None:
        self.planned = planned
        self._clock = clock
        self.devices: list[Device] = []
        self._closed = 0  # how many of them
        self._failed = failed
        self._locks = [threading.RLock() for _ in planned]
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        ranges = [(r.space, r.start, r.start + r.size, device.ranges[0].start, index)
                  for index, device in enumerate(planned) for r in device.ranges]  # fmt: skip
        ports = sorted(r[1:] for r in ranges if r[0] == "port")
        mmio = sorted(r[1:] for r in ranges if r[0] == "mmio")
        self.bus = lib.bus_new(len(ports), len(mmio), len(planned), self._event)
        if self.bus == ffi.NULL:
            os.close(self._event)
            raise MemoryError
        for table, rows in ((self.bus.ports, ports), (self.bus.mmio, mmio)):
            for to, row in zip(table[0 : len(rows)], rows, strict=True):
                to.start, to.end, to.base, to.device = row
        self._timers: list[int | None] = [None for _ in planned]  # when to tick, on the clock's monotonic time
        # What was taken from the queue and its devices have yet to be given; whoever has the lock hands it over. It is
        # taken before a device's own lock, never while one is held.
        self._handing = threading.RLock()
        self._pieces = ffi.new("struct bus_piece[]", lib.BUS_PIECES)
        self._bytes = ffi.new("uint8_t[]", lib.BUS_QUEUE)
        self._next, self._taken, self._at = 0, 0, 0  # pieces given, pieces taken, bytes given
        self.giving: int | None = None  # the device that is being given what was queued for it
        self._bulk = False  # what was handed over last was much

    def end_of(self, index: int) -> DeviceBus:
        """The bus as the device of that index sees it."""
        return DeviceBus(self.bus, index)

    def answer(self, access: Any) -> None:
        """Let a device answer an access; called by the vCPU's thread. What the guest has queued for whatever device
        comes first: both may print to the same place."""
        self.flush()
        index = access.device
        size, offset = access.size, access.offset
        data = ffi.buffer(access.data, size * access.count)
        device = self.devices[index]
        try:
            with self._locks[index]:
                for at in range(0, len(data), size):
                    if access.write:
                        device.write(offset, size, int.from_bytes(data[at : at + size], "little"))
                    else:
                        value = device.read(offset, size)
                        if not isinstance(value, int):
                            raise TypeError(f"read() returned {value!r}, not an int")
                        data[at : at + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")
        except BaseException as error:  # of a device's own, whatever its author raised
            if not access.write:
                data[:] = b"\xff" * len(data)
            self._fail(index, error)

    def receive(self, index: int, data: bytes) -> None:
        """Give a device input from the host."""
        self.flush()
        try:
            with self._locks[index]:
                self.devices[index].receive(data)
        except BaseException as error:  # of a device's own, whatever its author raised
            self._fail(index, error)

    def room(self, index: int) -> int:
        """Bytes of input that a device takes now."""
        try:
            with self._locks[index]:
                return self.devices[index].room()
        except BaseException as error:
            self._fail(index, error)
            return 0

    def after(self, index: int, delay: int | None) -> None:
        """Tick a device in ``delay`` ns, None: never. The device's lock is held."""
        self._timers[index] = None if delay is None else self._clock.monotonic() + max(0, delay)
        self.bus.hurry = 1  # or the wake would be taken for queued writes, and lingered over
        self.wake()

    def deliver(self) -> None:
        """Wait until something is queued or a timer is due, then see to both; the body of the device thread."""
        due = min((timer for timer in self._timers if timer is not None), default=None)
        linger = BULK_LINGER if self._bulk else LINGER
        lib.bus_wait(self.bus, linger, -1 if due is None else max(0, due - self._clock.monotonic()))
        self._bulk = self.flush() >= BULK
        self._tick()

    def _tick(self) -> None:
        now = self._clock.monotonic()
        for index, timer in enumerate(self._timers):
            if timer is None or timer > now:
                continue
            try:
                with self._locks[index]:
                    self._timers[index] = None
                    self.devices[index].tick()
            except BaseException as error:  # of a device's own, whatever its author raised
                self._fail(index, error)

    def flush(self) -> int:
        """Hand over everything that is queued, in the order of the writes; returns the number of bytes."""
        with self._handing:
            begin = self._at
            self._hand_over()  # what an interrupted call left
            total = self._at - begin
            self._next, self._taken, self._at = 0, lib.bus_take(self.bus, self._pieces, self._bytes), 0
            self._hand_over()
            return total + self._at

    def wake(self) -> None:
        """Let :meth:`deliver` return."""
        os.eventfd_write(self._event, 1)

    def _hand_over(self) -> None:
        while self._next < self._taken:
            piece = self._pieces[self._next]
            index, data = piece.device, bytes(ffi.buffer(self._bytes + self._at, piece.length))
            self._next += 1
            self._at += piece.length
            self.giving = index
            try:
                with self._locks[index]:
                    self.devices[index].written(piece.offset, piece.size, data)
            except BaseException as error:  # of a device's own, whatever its author raised
                self._fail(index, error)
            self.giving = None
            self.bus.handed = piece.number

    def _fail(self, index: int, error: BaseException) -> None:
        failure = DeviceError(f"device {self.planned[index].name} raised {raised(error, self.devices[index])}")
        failure.__cause__ = error
        self._failed(failure)

    def close_devices(self) -> None:
        """Close the devices, each once; no vCPU may run any more. What they raise is told as at any other time."""
        while self._closed < len(self.devices):
            index, self._closed = self._closed, self._closed + 1
            try:
                self.devices[index].close()
            except BaseException as error:  # of a device's own, whatever its author raised
                self._fail(index, error)

    def close(self) -> None:
        """Close the devices and free the C side."""
        self.close_devices()
        lib.bus_free(self.bus)
        os.close(self._event)
