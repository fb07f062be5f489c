"""Split virtqueues for devices in Python, over the walker in C."""

from typing import Any

from runner.memory import GuestMemory
from runner.native._native import ffi, lib
from runner.recording.requests import Requests
from vmspec.trace.requests import KINDS

CODES = {kind: code for code, kind in enumerate(KINDS)}

# What a driver did wrong, by enum virtqueue_fault.
FAULTS = {
    lib.VIRTQUEUE_BAD_SIZE: "its size is not a power of two from 1 to 1024",
    lib.VIRTQUEUE_MISALIGNED: "its descriptors, available ring or used ring are not at a multiple of 16, 2 and 4",
    lib.VIRTQUEUE_NO_RAM: "its descriptors, available ring or used ring are not in RAM",
    lib.VIRTQUEUE_AHEAD: "it has more chains than descriptors",
    lib.VIRTQUEUE_BAD_HEAD: "a chain begins with a descriptor beyond the queue",
    lib.VIRTQUEUE_BAD_NEXT: "a chain continues with a descriptor beyond its table",
    lib.VIRTQUEUE_TOO_LONG: "a chain loops, or has more than 1024 descriptors",
    lib.VIRTQUEUE_EMPTY: "a descriptor has no bytes",
    lib.VIRTQUEUE_TOO_LARGE: "a chain has 4 GiB or more",
    lib.VIRTQUEUE_NO_BUFFER: "a buffer is not in RAM, or is in memory that cannot be written",
    lib.VIRTQUEUE_ORDER: "a chain has a buffer to be read after one to be written",
    lib.VIRTQUEUE_NOT_OFFERED: "a chain has an indirect table, which the driver has not negotiated",
    lib.VIRTQUEUE_NESTED: "an indirect table is in another one",
    lib.VIRTQUEUE_NOT_LAST: "a chain continues after its indirect table",
    lib.VIRTQUEUE_BAD_TABLE: "an indirect table is not in RAM, or its length is not a multiple of a descriptor's",
    lib.VIRTQUEUE_MALFORMED: "a chain is not a request: it has no header, or no room for the answer",
}


class Chain:
    """A request: bytes that the device reads, and room for those that it writes, as one piece each.

    It is held until it is put back or its queue stops. Then it has neither bytes nor room: the memory is the driver's.
    """

    def __init__(self, queue: "Queue", chain: Any) -> None:
        self._queue, self._life = queue, queue.life
        self.chain: Any = chain  # None once it was put back
        self.readable = int(chain.readable)
        self.writable = int(chain.writable)

    @property
    def held(self) -> bool:
        """Whether it is still the device's."""
        return self.chain is not None and self._life == self._queue.life

    def read(self, size: int, at: int = 0) -> bytes:
        """Copy up to ``size`` bytes out, from byte ``at`` on."""
        if not self.held:
            return b""
        size = max(0, min(size, self.readable - at))
        data = ffi.new("uint8_t[]", size)
        return bytes(ffi.buffer(data, lib.chain_read(self.chain, at, data, size)))

    def write(self, data: bytes, at: int = 0) -> int:
        """Copy bytes in, from byte ``at`` on; return how many fitted."""
        return int(lib.chain_write(self.chain, at, data, len(data))) if self.held else 0

    def discard(self) -> None:
        """Return the whole pages that the device may write to the host."""
        if self.held:
            first, count = self.chain.n_readable, self.chain.n_writable
            for each in self.chain.ranges[first : first + count]:
                self._queue.memory.discard_host(each.iov_base, each.iov_len)


class Queue:
    """A queue of the machine's, in its memory; see :class:`runner.devices.services.Virtqueue`. What it gives back is
    recorded as a request to a device, in the queue of this number, of this kind."""

    def __init__(self, memory: GuestMemory, requests: Requests, device: int, number: int, kind: str) -> None:
        self.memory = memory
        self.requests, self.device, self.number, self.kind = requests, device, number, CODES[kind]
        self.native = ffi.new("struct virtqueue *")
        self._chains: list[Any] = []  # free ones
        self.life = 0  # counts starts and stops
        self.areas = 0, 0, 0

    def start(self, size: int, descriptors: int, driver: int, device: int, features: int) -> str | None:
        """Start it; returns what is wrong with it, None if nothing is."""
        self.life += 1
        self.areas = descriptors, driver, device
        lib.virtqueue_start(self.native, self.memory.table, size, descriptors, driver, device, features)
        return self.fault

    def resume(self, taken: int, put: int) -> None:
        """Continue after so many chains."""
        lib.virtqueue_resume(self.native, taken, put)

    def stop(self) -> None:
        """Leave the guest's memory alone."""
        self.life += 1
        lib.virtqueue_stop(self.native)

    @property
    def running(self) -> bool:
        """Whether it was started and not stopped since."""
        return bool(self.native.size)

    @property
    def size(self) -> int:
        """Its number of entries."""
        return int(self.native.size)

    @property
    def fault(self) -> str | None:
        """What the driver has done wrong, None: nothing."""
        return FAULTS[self.native.fault] if self.native.fault else None

    def progress(self) -> tuple[int, int]:
        """How many chains were taken and put back, modulo 65536."""
        return int(self.native.taken), int(self.native.put)

    @property
    def done(self) -> int:
        """How many requests were ever given back. Any thread may ask."""
        return int(self.native.done)

    def tell(self) -> None:
        """The driver has notified the device, now."""
        lib.virtqueue_tell(self.native, lib.tsc_now())

    def take(self) -> Chain | None:
        """The next chain, None: there is none, or the queue has a fault."""
        chain = self._chains.pop() if self._chains else ffi.new("struct virtqueue_chain *")
        if lib.virtqueue_take(self.native, chain):
            chain.kind = self.kind
            return Chain(self, chain)
        self._chains.append(chain)
        return None

    def put(self, chain: Chain, written: int) -> None:
        """Put a chain into the used ring, with so many bytes written, and record the request."""
        if chain.held:
            at = self.device, self.number
            lib.requests_record(self.requests.native, chain.chain, *at, written, lib.tsc_now())
            lib.virtqueue_put(self.native, chain.chain.head, written)
        if chain.chain is not None:
            self._chains.append(chain.chain)
            chain.chain = None

    def interrupts(self) -> bool:
        """Whether the driver wants an interrupt for what was put back since the last call."""
        return bool(lib.virtqueue_interrupts(self.native))

    def wait(self) -> bool:
        """Ask for a notification of the next chain; True: there is one already."""
        return bool(lib.virtqueue_wait(self.native))

    def busy(self) -> None:
        """Ask for no notifications."""
        lib.virtqueue_busy(self.native)
