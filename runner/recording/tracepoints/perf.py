"""KVM's tracepoints on the vCPU threads of this machine: perf events with one ring for each thread."""

import errno
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from runner.kvm.errors import HostError
from runner.native import _native
from runner.recording.tracepoints import formats
from runner.recording.tracepoints.formats import RIGHTS, Format
from vmspec.trace.events import EVENTS, chosen

ffi = _native.ffi
lib = _native.lib

RING = 4 << 20  # bytes of a vCPU's ring, about 40,000 events
RINGS = 64 << 20  # of all rings together; the kernel pins this memory
SMALLEST = 128 << 10
PARANOID = Path("/proc/sys/kernel/perf_event_paranoid")


class Opened(NamedTuple):
    """Facts of the events for the recorder: their formats by name, the bytes of a ring, how many events there are, and
    one time by perf's clock and by the trace's, in ns."""

    formats: dict[str, Format]
    size: int
    vcpus: int
    clock: tuple[int, int]


class Tracepoints:
    """The events of some threads, from :meth:`open` to :meth:`close`. :class:`.source.TracepointRings` drains them.

    Nothing global is enabled. The kernel removes its probes with the last descriptor, this process's and the
    recorder's. ``names`` are the events to record beside the essential ones; none: all. Raises HostError if this host
    cannot provide them.
    """

    def __init__(self, names: Collection[str] = ()) -> None:
        self.formats: dict[str, Format] = formats.read(chosen(names))
        self.descriptors: list[int] = []  # all events of each vCPU; the first has the ring
        self._rings: _native.Array[_native.PerfRing]
        self._size = 0
        self._vcpus = 0

    def open(self, threads: Sequence[int]) -> None:
        """Open the events on the vCPUs' threads, kernel thread ids by the vCPUs' index. None of them is in the guest
        yet."""
        size = RING
        while size > SMALLEST and size * len(threads) > RINGS:
            size //= 2
        self._size = size
        self._rings = ffi.new("struct perf_ring[]", len(threads))
        for vcpu, thread in enumerate(threads):
            owner = -1
            for name, form in self.formats.items():
                fd = lib.perf_open(form.id, thread, owner, size // 4)
                if fd < 0:
                    raise HostError(refused(name, -fd))
                self.descriptors.append(fd)
                if owner < 0:
                    owner = fd
                    # Map it here too: an event without a ring is lost.
                    if not lib.perf_map(ffi.addressof(self._rings, vcpu), fd, size, vcpu):
                        raise HostError(refused("the events' ring", ffi.errno))
                    self._vcpus = vcpu + 1

    def opened(self, clock: dict[str, int]) -> Opened:
        """The facts for the recorder; ``clock`` is :meth:`runner.recording.rings.Rings.clock`."""
        now = ffi.new("struct perf_clock *")
        lib.perf_clock_read(now, clock["tsc_start"], clock["tsc_khz"])
        return Opened(self.formats, self._size, self._vcpus, (int(now.raw[1]), int(now.t[1])))

    def close(self) -> None:
        """Unmap the rings and close every descriptor; a second call does nothing."""
        for vcpu in range(self._vcpus):
            lib.perf_unmap(ffi.addressof(self._rings, vcpu))
        self._vcpus = 0
        for fd in self.descriptors:
            os.close(fd)
        self.descriptors.clear()


def refused(what: str, number: int) -> str:
    """Why the kernel rejects an event or a ring, and what to do."""
    text = f"perf_event_open of {what}: {os.strerror(number)}"
    match number:
        case errno.EPERM | errno.EACCES:
            try:
                level = PARANOID.read_text().strip()
            except OSError:
                level = "unknown"
            return f"{text}; {RIGHTS}, or sysctl kernel.perf_event_paranoid=-1 (it is {level})"
        case errno.EMFILE | errno.ENFILE:
            return f"{text}; {len(EVENTS)} descriptors per vCPU are needed: raise ulimit -n"
        case errno.ENOMEM:
            return f"{text}; the kernel has no memory to pin for the rings"
        case errno.ENOSYS | errno.ENOENT | errno.EOPNOTSUPP | errno.EINVAL:
            return f"{text}; this kernel is built without perf events for tracepoints"
        case _:
            return text
