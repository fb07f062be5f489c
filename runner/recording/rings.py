"""The record rings: their file, and the VMM's side of them."""

import fcntl
import mmap
import os
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.native import _native
from runner.recording.pauses import Pauses
from runner.recording.requests import Requests
from vmspec.trace.record import HEADER, PAGE, RECORD_SIZE, RING_MAGIC, RING_VERSION, pauses

if TYPE_CHECKING:
    from runner.recording.transfers import Transfers

ffi = _native.ffi
lib = _native.lib

METADATA_SIZE = 1 << 21  # the spec is at most 1 MiB of text; JSON escapes and the host's facts come on top
FLIGHT_SLOTS = 64  # without a trace: the last exits, for a crash report
POLICIES = {"wait": lib.RING_WAIT, "drop": lib.RING_DROP}
FIELDS = tuple(field.name for field in HEADER)  # fields of the file's header, 64 bits each


class RingView:
    """The rings of a mapping, for either side; ``header`` has the fields of the file's header.

    If the file is truncated, its contents read as zero from then on, and :attr:`lost` is true. Raises ``OSError``.
    """

    def __init__(self, mapping: mmap.mmap, header: dict[str, int], policy: int, event: int, guarded: bool) -> None:
        self.vcpus = header["rings"]
        self._header = header
        self._event = event
        self._mapping = mapping
        self._buffer = ffi.from_buffer(mapping)
        self._base = ffi.cast("char *", self._buffer)
        self._rings = ffi.new("struct ring[]", self.vcpus)
        for index in range(self.vcpus):
            at = self._base + header["first_ring"] + index * header["ring_size"]
            lib.ring_init(self.ring(index), at, header["slots"], header["payload_size"], policy, event)
        self.pauses = Pauses([self.ring(index) for index in range(self.vcpus)])
        self._lost = ffi.new("uint32_t *")
        self._guarded = guarded
        # A short run touches few pages. The kernel would read as much of the empty file around each as it reads ahead.
        mapping.madvise(mmap.MADV_RANDOM)
        if guarded:
            lib.memory_guard(self._base, len(mapping), self._lost)

    @property
    def lost(self) -> bool:
        """Whether somebody has truncated the file."""
        return bool(self._lost[0])

    def ring(self, index: int) -> "_native.RingPointer":
        """The C ring of a vCPU."""
        return ffi.addressof(self._rings, index)

    def _set(self, name: str, value: int) -> None:
        """Write one field of the file's header; the other side may write other fields."""
        self._header[name] = value
        at = 8 * FIELDS.index(name)
        self._mapping[at : at + 8] = value.to_bytes(8, "little")

    def describe(self, metadata: bytes) -> None:
        """Write the trace's metadata into the file, so that the trace can be recovered without the stream."""
        if self._header["first_ring"] >= PAGE + len(metadata):
            self._set("metadata_size", 0)
            self._mapping[PAGE : PAGE + len(metadata)] = metadata
            self._set("metadata_size", len(metadata))

    def clock(self) -> dict[str, int]:
        """The trace's clock: the TSC at time 0, and the TSC's rate."""
        return {name: self._header[name] for name in ("tsc_start", "tsc_khz")}

    def elapsed(self) -> int:
        """Nanoseconds since time 0; 0 before it."""
        return self._nanoseconds(lib.tsc_now())

    def _nanoseconds(self, tsc: int) -> int:
        """A TSC as the trace's time in ns. A TSC before time 0 gives 0, as in the rows."""
        start, khz = self._header["tsc_start"], self._header["tsc_khz"]
        return max(tsc - start, 0) * 1_000_000 // khz if khz else 0

    def counters(self, name: str) -> list[int]:
        """A field of the control block (``head``, ``dropped``, ``interrupted``, ``waits``), one for each vCPU."""
        return [int(getattr(self._rings[index].control, name)) for index in range(self.vcpus)]

    def stamps(self, name: str) -> list[int | None]:
        """A stamp of the control block (``start``, ``stop``, ``open``) in ns since time 0, one for each vCPU; None for
        a vCPU without one."""
        return [self._nanoseconds(tsc) if tsc else None for tsc in self.counters(name)]

    def length(self) -> int:
        """The length of the run in ns: until its last vCPU stopped, or until now if one has not."""
        stops = self.stamps("stop")
        known = [stop for stop in stops if stop is not None]
        return max(known) if known and len(known) == len(stops) else self.elapsed()

    def account(self) -> dict[str, Any]:
        """The closing summary's values for each vCPU; see docs/trace-format.md."""
        now, start, khz = lib.tsc_now(), self._header["tsc_start"], self._header["tsc_khz"] or 1
        words, known = self.counters("paused"), self.pauses.known()
        paused = [pauses(word, now, spans, start, khz) for word, spans in zip(words, known, strict=True)]
        return {
            "rows": self.counters("head"),
            "dropped": self.counters("dropped"),
            "interrupted": self.counters("interrupted"),
            **{f"{name}_ns": self.stamps(name) for name in ("start", "stop", "open")},
            "paused_ns": [ns for ns, _ in paused],
            "pauses_ns": [times for _, times in paused],
        }

    def close(self) -> None:
        """Unmap."""
        if self._guarded:
            lib.memory_unguard(self._base)
        ffi.release(self._buffer)
        self._mapping.close()


class Rings(RingView):
    """The VMM's side: one ring per vCPU in one mapping, of a file, which outlives the process, or of anonymous memory.

    If ``path`` is None, nobody consumes: each ring keeps its newest records. Raises ``OSError`` (ENOSPC: no room).
    """

    transfers: "Transfers | None" = None  # the ring of transfers, if there is one

    def __init__(
        self, vcpus: int, slots: int, full: str, path: Path | None, *, requests: bool = False, transfers: bool = False
    ) -> None:
        """``requests``: the file has a ring of requests, too. ``transfers``: there is a ring of transfers."""
        self.path = path
        slots = slots if path else FLIGHT_SLOTS
        payload = max(slots * 16, PAGE)  # a quarter of the records' own size
        ring_size = PAGE + slots * RECORD_SIZE + payload
        first = PAGE + (METADATA_SIZE if path else 0)
        end = first + vcpus * ring_size
        header = dict.fromkeys(FIELDS, 0) | {
            "magic": RING_MAGIC,
            "version": RING_VERSION,
            "rings": vcpus,
            "slots": slots,
            "payload_size": payload,
            "first_ring": first,
            "ring_size": ring_size,
            "requests": end if requests else 0,
        }
        self._file = -1
        self._monotonic = 0  # CLOCK_MONOTONIC at time 0, in ns
        self._events: list[int] = []
        self._policy = POLICIES[full] if path else lib.RING_OVERWRITE
        self._requests: Requests | None = None  # that are recorded
        self._ended = ffi.new("struct populating *")
        try:
            for _ in range(1 + requests):
                self._events.append(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))
            if transfers:
                from runner.recording.transfers import Transfers  # late: few runs record them

                self.transfers = Transfers()
            mapping = self._map(path, end + (PAGE + slots * RECORD_SIZE if requests else 0))
        except BaseException:
            self._release()
            raise
        super().__init__(mapping, header, self._policy, self._events[0], path is not None)

    def _map(self, path: Path | None, size: int) -> mmap.mmap:
        if path is None:
            return mmap.mmap(-1, size)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(self._file, 0)
        try:
            # Allocate all of it now: a page missing later would be a SIGBUS in the vCPU loop.
            os.posix_fallocate(self._file, 0, size)
            mapping = mmap.mmap(self._file, size, mmap.MAP_SHARED)
        except OSError:
            path.unlink()
            raise
        return mapping

    @property
    def descriptors(self) -> tuple[int, ...]:
        """The descriptors for the recorder: the locked file, the eventfd that signals a filling ring of exits, that of
        the ring of requests, if there is one, and those of the ring of transfers, if there is one."""
        return self._file, *self._events, *(self.transfers.descriptors if self.transfers is not None else ())

    def record(self, requests: Requests) -> None:
        """Have requests recorded, if the file has a ring for them."""
        if at := self._header["requests"]:
            requests.begin(self._base + at, self._header["slots"], self._policy, self._events[1])
            self._requests = requests

    def start(self, tsc_khz: int) -> None:
        """Set time 0 to now."""
        self._monotonic = time.monotonic_ns()
        self._header |= {"tsc_start": lib.tsc_now(), "tsc_khz": tsc_khz}
        values = (self._header[name] for name in FIELDS)
        self._mapping[: 8 * len(FIELDS)] = struct.pack(f"<{len(FIELDS)}Q", *values)

    def clocks(self) -> dict[str, int]:
        """The time since time 0 in ns, by the trace's clock and by CLOCK_MONOTONIC, which KVM uses."""
        return {"trace_ns": self.elapsed(), "monotonic_ns": time.monotonic_ns() - self._monotonic}

    def populate(self) -> None:
        """Map the pages, so that the vCPU loop need not. It takes milliseconds, during which the guest runs already."""
        first = self._header["first_ring"]
        lib.populate(self._base + first, len(self._mapping) - first, self._ended)

    def ended(self) -> None:
        """No vCPU runs any more: :meth:`populate` returns."""
        self._ended.over = 1

    def abandon(self) -> None:
        """The recorder has failed: no thread waits for it any longer; what comes is dropped and counted."""
        for index in range(self.vcpus):
            lib.ring_close(self.ring(index))
        if self._requests is not None:
            self._requests.abandon()
        if self.transfers is not None:
            self.transfers.abandon()

    @property
    def transfers_wait(self) -> bool:
        """Whether the vCPU waits for room in the ring of transfers."""
        return self.transfers is not None and self.transfers.waiting

    @property
    def requests_wait(self) -> bool:
        """Whether a thread waits for room in the ring of requests."""
        return self._requests is not None and self._requests.waiting

    def last(self, index: int, count: int) -> list[dict[str, int]]:
        """The newest records of a vCPU, oldest first, times in ns since the start."""
        ring = self._rings[index]
        head = ring.control.head
        records = []
        for number in range(max(0, head - min(count, ring.mask + 1)), head):
            record = ring.slots[number & ring.mask]
            fields = ("addr", "data", "rip", "count", "device", "region", "flags", "reason", "size", "direction")
            values = {name: int(getattr(record, name)) for name in fields}
            values["seq"] = number
            values["t_exit"] = self._nanoseconds(record.tsc_exit)
            records.append(values)
        return records

    def close(self) -> None:
        """Unmap and close. The file stays; the recorder removes it."""
        super().close()
        self._release()

    def _release(self) -> None:
        if self.transfers is not None:
            self.transfers.close()
        for descriptor in (*self._events, self._file):
            if descriptor >= 0:
                os.close(descriptor)
