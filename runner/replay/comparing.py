"""Exits on KVM, compared with a recording and answered from it. No device acts, and no time passes."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from runner.kvm.errors import KvmError
from runner.kvm.vcpu import VCPU
from runner.machine.virtual import VirtualTime
from runner.memory import GuestMemory
from runner.native import _native
from runner.replay.recording import Exit, Recording
from vmspec.trace.record import REASONS

ffi, lib = _native.ffi, _native.lib


class Mismatch(NamedTuple):
    """The exit at which a replay is not as its recording: both sides as text by what differs, the number of the newest
    exit after which the guest took an interrupt, and its vector."""

    exit: int
    differs: Mapping[str, tuple[str, str]]
    interrupt: tuple[int, int] | None


class Position(NamedTuple):
    """Where a comparison is in its recording: exits that are as recorded, devices' writes that were made, and the
    newest interrupt, as :class:`Mismatch` has it."""

    done: int = 0
    written: int = 0
    interrupt: tuple[int, int] | None = None


class Comparison(VirtualTime):
    """Replays a recording up to an exit, which is not made any more; None: to its end. ``tsc`` is the name of the
    device that stands for the TSC."""

    def __init__(self, recording: Recording, memory: GuestMemory, until: int | None, tsc: str | None = None) -> None:
        self.words = ffi.new("struct virtual_time *", {"deadline": lib.VIRTUAL_NEVER, "replayed": 1})
        self.words.memory = memory.table
        self._memory = memory
        self.mismatch: Mismatch | None = None
        self._recording = recording
        self._tsc = tsc
        self._last = len(recording.exits) if until is None else min(until, len(recording.exits))
        self._writes = [transfer for transfer in recording.dma if transfer.direction == "write"]  # of devices
        self.position = Position()

    @property
    def done(self) -> int:
        """Exits that are as recorded."""
        return self.position.done

    @property
    def finished(self) -> bool:
        """Whether there is nothing more to replay."""
        return self.done == self._last

    def begin(self) -> None:
        """Nothing belongs to the vCPU's thread."""

    def replay(self, loop: "_native.VcpuPointer", vcpu: VCPU) -> bool:
        """Compare the exit with the next one of the recording, and answer it. False: the replay ends here."""
        recorded = self._recording.exits[self.done]
        differs = dict(_differences(recorded, loop))
        if differs:
            self.mismatch = Mismatch(self.done, differs, self.position.interrupt)
            return False
        transfer = loop.transfer
        if transfer.length and not transfer.write:
            ffi.buffer(transfer.data, transfer.length)[:] = recorded.bytes
        if wrong := dict(self._wrote()):
            self.mismatch = Mismatch(self.done, wrong, self.position.interrupt)
            return False
        try:
            if self._tsc is not None and recorded.loads_tsc(self._tsc):
                vcpu.load_tsc(recorded.data)
            self._interrupts(recorded, loop, vcpu)
        except KvmError as error:
            taken = ("taken", f"cannot be taken: {error}")
            self.mismatch = Mismatch(self.done, {f"interrupt {recorded.vector:#x}": taken}, self.position.interrupt)
            return False
        self.position = self.position._replace(done=self.done + 1)
        return not self.finished

    def _wrote(self) -> Iterator[tuple[str, tuple[str, str]]]:
        """Write to the guest's memory what devices wrote at this exit. What cannot be written is a difference."""
        while (at := self.position.written) < len(self._writes) and (write := self._writes[at]).exit == self.done:
            try:
                self._memory.write(write.addr, write.data)
            except ValueError as error:
                yield f"DMA of {write.device}", (f"{len(write.data)} bytes", str(error))
            self.position = self.position._replace(written=at + 1)

    def _interrupts(self, recorded: Exit, loop: "_native.VcpuPointer", vcpu: VCPU) -> None:
        for came in self._recording.inputs.get(self.done, ()):
            if not came.device:
                vcpu.nmi()
        if recorded.vector:
            vcpu.interrupt(recorded.vector)
            self.position = self.position._replace(interrupt=(self.done, recorded.vector))
        loop.run.request_interrupt_window = recorded.has("WINDOW")


def _differences(recorded: Exit, loop: "_native.VcpuPointer") -> Iterator[tuple[str, tuple[str, str]]]:
    """What the guest has done otherwise: its name, as recorded, as replayed."""
    reason, transfer = int(loop.run.exit_reason), loop.transfer
    size, length = int(transfer.size), int(transfer.length)
    write = bool(transfer.write)
    found = {
        "reason": REASONS[reason] if reason < len(REASONS) else f"exit {reason}",
        "rip": int(lib.run_rip(loop.run)) if recorded.has("RIP") else recorded.rip,
        "addr": int(transfer.address),
        "size": size,
        "items": length // size if size else 0,
        "direction": ("write" if write else "read") if length else "none",
    }
    if not length:  # such an exit has no address; a trace may have KVM's numbers in the columns
        found |= {"addr": recorded.addr}
    if write:
        found["bytes"] = bytes(ffi.buffer(transfer.data, length))
    for name, value in found.items():
        was = getattr(recorded, name)
        if was != value:
            yield name, (_text(was), _text(value))


def _text(value: object) -> str:
    match value:
        case int():
            return f"{value:#x}"
        case bytes():
            return value.hex(" ")
        case _:
            return str(value)
