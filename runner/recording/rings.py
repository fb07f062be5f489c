"""The record rings: their file, and the recorder's view of them."""

import fcntl
import mmap
import os
import struct
import time
from pathlib import Path
from typing import Any

from runner.native import _native
from runner.recording.columns import Buffers, Columns
from vmspec.trace.files import RingLostError
from vmspec.trace.record import EXITS, HEADER, PAGE, RECORD_SIZE, RING_MAGIC, RING_VERSION

ffi = _native.ffi
lib = _native.lib

METADATA_SIZE = 1 << 21  # the spec is at most 1 MiB of text, JSON escapes and the host's facts included
FLIGHT_SLOTS = 64  # without a trace: the last exits, for a crash report
POLICIES = {"wait": lib.RING_WAIT, "drop": lib.RING_DROP}


class Rings:
    """One ring per vCPU in one mapping: of a file, which outlives the process, or of anonymous memory.

    With ``path`` None nobody consumes: each ring keeps its newest records. Raises ``OSError`` (ENOSPC: no room).
    """

    def __init__(self, vcpus: int, slots: int, full: str, path: Path | None) -> None:
        self.vcpus = vcpus
        self.path = path
        slots = slots if path else FLIGHT_SLOTS
        payload = max(slots * 16, PAGE)  # a quarter of the records' own size
        ring_size = PAGE + slots * RECORD_SIZE + payload
        metadata = METADATA_SIZE if path else 0
        first = PAGE + metadata
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._file = -1
        self._monotonic = 0  # CLOCK_MONOTONIC at time 0, in ns
        self._ended = False
        try:
            self._mapping = self._map(path, first + vcpus * ring_size)
        except BaseException:
            os.close(self._event)
            if self._file >= 0:
                os.close(self._file)
            raise
        self._buffer = ffi.from_buffer(self._mapping)
        self._header: dict[str, int] = {
            "magic": RING_MAGIC,
            "version": RING_VERSION,
            "rings": vcpus,
            "slots": slots,
            "payload_size": payload,
            "metadata_size": 0,
            "first_ring": first,
            "ring_size": ring_size,
            "tsc_start": 0,
            "tsc_khz": 0,
            "tsc_seen": 0,
        }
        self._rings = ffi.new("struct ring[]", vcpus)
        base = ffi.cast("char *", self._buffer)
        policy = POLICIES[full] if path else lib.RING_OVERWRITE
        for index in range(vcpus):
            lib.ring_init(ffi.addressof(self._rings, index), base + first + index * ring_size, slots, payload, policy,
                          self._event)  # fmt: skip
        self._columns = Columns(EXITS.name)
        self._lost = ffi.new("uint32_t *")
        if path is not None:
            lib.memory_guard(base, len(self._mapping), self._lost)

    def _map(self, path: Path | None, size: int) -> mmap.mmap:
        if path is None:
            return mmap.mmap(-1, size)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(self._file, 0)
        try:
            # All of it now: a page that cannot be had later would be a SIGBUS in the vCPU loop.
            os.posix_fallocate(self._file, 0, size)
            return mmap.mmap(self._file, size, mmap.MAP_SHARED)
        except OSError:
            path.unlink()
            raise

    def start(self, tsc_khz: int) -> None:
        """Set time 0 to now."""
        self._monotonic = time.monotonic_ns()
        self._header["tsc_start"] = lib.tsc_now()
        self._header["tsc_khz"] = tsc_khz
        self._write_header()

    def clock(self) -> dict[str, int]:
        """The trace's clock: the TSC that is time 0, and the TSC's rate."""
        return {name: self._header[name] for name in ("tsc_start", "tsc_khz")}

    def elapsed(self) -> int:
        """Nanoseconds since time 0; 0 before it."""
        return self._nanoseconds(lib.tsc_now())

    def _nanoseconds(self, tsc: int) -> int:
        """A TSC as the trace's time, in ns; what lies before time 0 is 0, as in the rows."""
        start, khz = self._header["tsc_start"], self._header["tsc_khz"]
        return max(tsc - start, 0) * 1_000_000 // khz if khz else 0

    def clocks(self) -> dict[str, int]:
        """How long it is since time 0 in ns, by the trace's clock and by CLOCK_MONOTONIC, which KVM counts by."""
        return {"trace_ns": self.elapsed(), "monotonic_ns": time.monotonic_ns() - self._monotonic}

    def stamps(self, name: str) -> list[int | None]:
        """A stamp of the control block (``start``, ``stop``, ``open``) in ns since time 0, one for each vCPU; None
        where the vCPU has not come to it."""
        return [self._nanoseconds(tsc) if tsc else None for tsc in self.counters(name)]

    def length(self) -> int:
        """How long the run was, in ns: until its last vCPU stopped, or until now where one has not."""
        stops = self.stamps("stop")
        known = [stop for stop in stops if stop is not None]
        return max(known) if known and len(known) == len(stops) else self.elapsed()

    def populate(self) -> None:
        """Map the pages, so that the vCPU loop need not; it takes milliseconds, and a running guest does not wait."""
        first = self._header["first_ring"]
        lib.populate(ffi.cast("char *", self._buffer) + first, len(self._mapping) - first)

    def ended(self) -> None:
        """No vCPU runs any more, or one never comes back: drain all that was published, whatever is still open."""
        self._ended = True

    def describe(self, metadata: bytes) -> None:
        """Put the trace's metadata into the file, so that it can be recovered without the stream."""
        if self.path is not None and len(metadata) <= METADATA_SIZE:
            self._mapping[PAGE : PAGE + len(metadata)] = metadata
            self._header["metadata_size"] = len(metadata)
            self._write_header()

    def _write_header(self) -> None:
        self._mapping[: 8 * len(HEADER)] = struct.pack(
            f"<{len(HEADER)}Q", *(self._header[field.name] for field in HEADER)
        )

    def ring(self, index: int) -> Any:
        """The C ring of a vCPU."""
        return ffi.addressof(self._rings, index)

    def abandon(self) -> None:
        """The recorder has failed: vCPUs do not wait for it any more, further exits are dropped and counted."""
        for index in range(self.vcpus):
            lib.ring_close(self.ring(index))

    def counters(self, name: str) -> list[int]:
        """A field of the control block (``head``, ``dropped``, ``interrupted``, ``waits``), one for each vCPU."""
        return [int(getattr(self._rings[index].control, name)) for index in range(self.vcpus)]

    def last(self, index: int, count: int) -> list[dict[str, int]]:
        """The newest records of a vCPU, oldest first, times in nanoseconds since the start."""
        ring = self._rings[index]
        head = ring.control.head
        records = []
        for number in range(max(0, head - min(count, ring.mask + 1)), head):
            record = ring.slots[number & ring.mask]
            fields = ("addr", "data", "rip", "count", "device", "flags", "reason", "size", "direction")
            values = {name: int(getattr(record, name)) for name in fields}
            values["seq"] = number
            values["t_exit"] = self._nanoseconds(record.tsc_exit)
            records.append(values)
        return records

    # The recorder's side.

    def wait(self, seconds: float) -> None:
        """Return when a ring is a quarter full, when woken, or after ``seconds``."""
        lib.rings_wait(self._event, int(seconds * 1000))

    def wake(self) -> None:
        """Let :meth:`wait` return now."""
        os.eventfd_write(self._event, 1)

    def drain(self, buffers: Buffers) -> int:
        """Fill the buffers with the next records of all rings in the order of t_exit; returns the rows.

        Raises RingLostError.
        """
        start, khz = self._header["tsc_start"], self._header["tsc_khz"]
        self._header["tsc_seen"] = lib.tsc_now()
        self._write_header()
        now = (1 << 64) - 1 if self._ended else self._header["tsc_seen"]
        with self._columns.of(buffers) as columns:
            rows = lib.rings_drain(self._rings, self.vcpus, start, khz, now, columns)
        if self._lost[0]:
            raise RingLostError(f"{self.path} was cut short while the guest ran, and what was in it is lost")
        return int(rows)

    def commit(self) -> None:
        """What was drained is in the trace: free its room."""
        lib.rings_commit(self._rings, self.vcpus)

    def close(self) -> None:
        """Unmap and close; the file stays, it is the recorder's to remove."""
        if self.path is not None:
            lib.memory_unguard(ffi.cast("char *", self._buffer))
        ffi.release(self._buffer)
        self._mapping.close()
        os.close(self._event)
        if self._file >= 0:
            os.close(self._file)
