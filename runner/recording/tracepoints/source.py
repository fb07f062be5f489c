"""The recorder's side of the tracepoints: the rings of the perf events that the VMM opened."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from runner.native import _native
from runner.recording.columns import Buffers, Columns
from runner.recording.tracepoints.perf import Opened
from vmspec.trace.events import EVENTS
from vmspec.trace.exit_codes import ISA_SVM, ISA_VMX, SVM, VMX
from vmspec.trace.record import REASONS
from vmspec.trace.tracepoints import EXIT_NAMES, SLOTS, UNKNOWN

ffi = _native.ffi
lib = _native.lib

MODULES = {"kvm_intel": ISA_VMX, "kvm_amd": ISA_SVM}
# What kind of number an event's reason is, as struct perf_format has it.
MEANINGS = {"kvm_exit": 1, "kvm_userspace_exit": 2}


class TracepointRings:
    """The rings of opened events, by their descriptors, which the caller closes; ``clock`` is the trace's.

    Raises OSError if the rings cannot be mapped.
    """

    def __init__(self, opened: Opened, descriptors: Sequence[int], clock: Mapping[str, int]) -> None:
        self.formats = opened.formats
        self._fds = list(descriptors)
        self._start = clock["tsc_start"], clock["tsc_khz"]
        # The clocks are read a second time before anything is drained.
        self._clock = ffi.new("struct perf_clock *", {"raw": [0, opened.clock[0]], "t": [0, opened.clock[1]]})
        self._columns = Columns(ffi.new("struct tracepoints_columns *"))
        self._keep: list[_native.Array[_native.Int16]] = []
        self._formats = self._compile()
        self._names = self._name()
        self._rings = ffi.new("struct perf_ring[]", opened.vcpus)
        self._owners = ffi.new("int[]", self._fds[:: len(self.formats)])
        self._vcpus = 0
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        for vcpu in range(opened.vcpus):
            if not lib.perf_map(ffi.addressof(self._rings, vcpu), self._owners[vcpu], opened.size, vcpu):
                number = ffi.errno
                self.close()
                raise OSError(number, os.strerror(number))
            self._vcpus = vcpu + 1

    def _compile(self) -> "_native.Array[_native.PerfFormat]":
        compiled = ffi.new("struct perf_format[]", len(self.formats))
        for code, (name, form) in enumerate(self.formats.items()):
            compiled[code].id = form.id
            compiled[code].code = code
            compiled[code].names = MEANINGS.get(name, 0)
            chosen = form.chosen(EVENTS[name])
            compiled[code].n_fields = len(chosen)
            for to, (into, field) in zip(compiled[code].fields, chosen, strict=False):
                to.offset, to.size, to.is_signed = field
                to.slot, to.shift, to.negate = SLOTS.index(into.slot), into.shift, into.negate
        return compiled

    def _name(self) -> "_native.PerfNamesPointer":
        code = {name: number for number, name in enumerate(EXIT_NAMES)}
        names = ffi.new("struct perf_names *")
        names.unknown = code[UNKNOWN]
        names.svm_err = code["err"]
        names.isa = backend()
        svm = {number: name for number, name in SVM.items() if name != "err"}
        for table, known in (("vmx", VMX), ("svm", svm), ("user", dict(enumerate(REASONS)))):
            codes = ffi.new("int16_t[]", [code[known.get(number, UNKNOWN)] for number in range(max(known) + 1)])
            self._keep.append(codes)
            setattr(names, table, codes)
            setattr(names, f"n_{table}", len(codes))
        return names

    @property
    def isa(self) -> int:
        """KVM_ISA_* of the exits, 0 if unknown."""
        return int(self._names.isa)

    def lost(self) -> list[int]:
        """Events of each vCPU that its ring had no room for. Its thread has ended, and its ring was drained.

        The kernel records a loss with the next event that fits, so it never records one after the last event. The
        kernel's own counts are exact.
        """
        return [
            sum(counted(fd) for fd in self._fds[vcpu * len(self.formats) :][: len(self.formats)])
            - int(self._rings[vcpu].samples)
            for vcpu in range(self._vcpus)
        ]

    def unknown(self) -> int:
        """Records that do not match the formats, and are not in the table."""
        return sum(int(self._rings[vcpu].unknown) for vcpu in range(self._vcpus))

    def described(self) -> dict[str, Any]:
        """The formats of the events, for the table's metadata."""
        return {
            name: {"id": form.id, "fields": [[key, *field] for key, field in form.fields.items()]}
            for name, form in self.formats.items()
        }

    def wait(self, seconds: float) -> None:
        """Return when a ring is a quarter full, when woken, or after ``seconds``."""
        lib.perf_wait(self._owners, self._vcpus, self._event, int(seconds * 1000))

    def wake(self) -> None:
        """Let :meth:`wait` return now."""
        os.eventfd_write(self._event, 1)

    def tick(self) -> None:
        """Read the clocks: the next drain takes the events until now."""
        lib.perf_clock_read(self._clock, *self._start)

    def drain(self, buffers: Buffers) -> int:
        """Fill the buffers with the next events of all vCPUs in the order of time; returns the rows."""
        with self._columns.of(buffers) as columns:
            rows = lib.perf_drain(
                self._rings, self._vcpus, self._formats, len(self.formats), self._clock, self._names, columns
            )
        return int(rows)

    def close(self) -> None:
        """Unmap the rings."""
        for vcpu in range(self._vcpus):
            lib.perf_unmap(ffi.addressof(self._rings, vcpu))
        os.close(self._event)


def backend() -> int:
    """KVM_ISA_* by the loaded module, for kernels whose kvm_exit does not report it; 0 for another module or none."""
    loaded = [isa for name, isa in MODULES.items() if Path("/sys/module", name).exists()]
    return loaded[0] if len(loaded) == 1 else 0


def counted(fd: int) -> int:
    """How often an event happened, with or without room in its ring (perf_event_open(2), "Reading results")."""
    return int.from_bytes(os.read(fd, 8), sys.byteorder)
