"""The recorder's side of the rings."""

import mmap
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runner.recording.columns import Buffers, Columns
from runner.recording.rings import FIELDS, RingView, ffi, lib
from runner.recording.tablering import TableRing
from vmspec.trace.files import RingLostError
from vmspec.trace.record import PAGE, RECORD_SIZE


def begun(file: int, path: Path) -> bool:
    """Whether the run of this ring file has set its time 0; before that the file has no records.

    The file has its full size before the recorder has its descriptor. Raises RingLostError if it is shorter now.
    """
    return _header(file, path)["magic"] != 0


def _header(file: int, path: Path) -> dict[str, int]:
    """The header of a ring file. Raises RingLostError if the file is shorter.

    Mapped as the VMM has mapped it, not read: on some network file systems, 9p among them, read(2) shows late what is
    stored in a mapping. The mapping is not guarded; the file would have to be truncated within these few lines.
    """
    if os.fstat(file).st_size < PAGE:
        raise _cut_short(path)
    with mmap.mmap(file, PAGE, prot=mmap.PROT_READ) as mapping:
        raw = mapping[: 8 * len(FIELDS)]
    return dict(zip(FIELDS, struct.unpack(f"<{len(FIELDS)}Q", raw), strict=True))


def _cut_short(path: Path) -> RingLostError:
    return RingLostError(f"{path} was truncated while the guest ran, and its records are lost")


class RequestSource(TableRing):
    """The recorder's side of the ring of requests at ``base``. ``lost`` raises RingLostError if somebody has truncated
    the file."""

    def __init__(self, base: Any, slots: int, event: int, clock: dict[str, int], lost: Callable[[], None]) -> None:
        super().__init__(ffi.new("struct ring *"), event, clock)
        lib.ring_init(self.ring, base, slots, 0, lib.RING_WAIT, event)
        self._lost = lost
        self._columns = Columns(ffi.new("struct requests_columns *"))

    def drain(self, buffers: Buffers) -> int:
        """Fill the buffers with the next records, ordered by t_done; returns the rows. Raises RingLostError."""
        with self._columns.of(buffers) as columns:
            rows = lib.requests_drain(self.ring, self._clock["tsc_start"], self._clock["tsc_khz"], columns)
        self._lost()
        return int(rows)


class RingSource(RingView):
    """The rings in a file of :class:`runner.recording.rings.Rings`, by its descriptors, once time 0 is set.

    The caller closes the descriptors; ``path`` is the file's name. Raises RingLostError.
    """

    def __init__(self, file: int, event: int, path: Path) -> None:
        self._path = path
        header = _header(file, path)
        try:
            size = header["first_ring"] + header["rings"] * header["ring_size"]
            size += PAGE + header["slots"] * RECORD_SIZE if header["requests"] else 0
            mapping = mmap.mmap(file, size, mmap.MAP_SHARED)
        except ValueError:
            raise _cut_short(self._path) from None
        super().__init__(mapping, header, lib.RING_WAIT, event, guarded=True)
        self._ended = False
        self._columns = Columns(ffi.new("struct exits_columns *"))

    def requests(self, event: int) -> RequestSource:
        """The source of the requests, if the file has a ring for them; ``event`` is its eventfd."""
        at = self._base + self._header["requests"]
        return RequestSource(at, self._header["slots"], event, self.clock(), self._unless_lost)

    def _unless_lost(self) -> None:
        if self.lost:
            raise _cut_short(self._path)

    def description(self) -> bytes:
        """The file's description of the trace, as JSON; it has the devices' names from the start."""
        return self._mapping[PAGE : PAGE + self._header["metadata_size"]]

    def ended(self) -> None:
        """No vCPU runs any more, or one never comes back: drain everything published, exits still being handled or
        not."""
        self._ended = True

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
        seen = int(lib.tsc_now())
        self._set("tsc_seen", seen)
        self.pauses.keep()
        with self._columns.of(buffers) as columns:
            rows = lib.rings_drain(self._rings, self.vcpus, start, khz, (1 << 64) - 1 if self._ended else seen, columns)
        self._unless_lost()
        return int(rows)

    def commit(self) -> None:
        """The drained records are in the trace: free their room."""
        lib.rings_commit(self._rings, self.vcpus)
