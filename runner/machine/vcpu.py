"""One vCPU: its thread around the C loop."""

import os
from collections.abc import Callable, Sequence
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from runner.kvm.errors import KvmError
from runner.kvm.vcpu import VCPU, Registers, as_registers
from runner.machine.bus import Buses
from runner.native import _native
from runner.signals import KICK
from runner.x86.state import is_reset
from vmspec.host.threads import Worker
from vmspec.trace.record import FLAGS

if TYPE_CHECKING:
    from runner.machine.virtual import VirtualTime

ffi = _native.ffi
lib = _native.lib

DEBUG_REGISTERS = Struct("8Q")  # struct guest_debug's

# Exit reasons in vcpu.counts, as wide as the C array.
REASON_COUNTS = 64


class Kept(NamedTuple):
    """Registers at an exit. The general ones were read at the TSC ``general``, the system's at ``system``, some ms
    before."""

    registers: Registers
    general: int
    system: int


class Gate:
    """Where a machine's vCPU threads wait, in C and without the interpreter: before they enter the guest, and while the
    machine is paused. It starts closed."""

    def __init__(self) -> None:
        self.words = ffi.new("struct gate *", {"turn": 1})

    def close(self) -> None:
        """Make threads wait here from now on. Kick those that are in the guest afterwards."""
        lib.gate_close(self.words)

    def open(self) -> None:
        """Let the threads go."""
        lib.gate_open(self.words)


class VcpuThread(Worker):
    """Runs one vCPU until it is stopped or has its last exit, then calls ``ended(self)`` in this thread."""

    def __init__(
        self,
        index: int,
        vcpu: VCPU,
        buses: Buses,
        ring: "_native.RingPointer",
        sync_regs: bool,
        ended: Callable[["VcpuThread"], None],
        gate: Gate,
        time: "VirtualTime | None" = None,
    ) -> None:
        super().__init__(f"vcpu{index}")
        self.index = index
        self.vcpu = vcpu
        self.outcome: int | None = None
        self.failure: BaseException | None = None
        self.answering = False  # Python is answering an access for a device
        self.ticking = False  # Python is doing what virtual time asks for
        self._buses = buses
        self._ended = ended
        self._loop = ffi.new("struct vcpu *")
        self._loop.fd = vcpu.fd
        self._loop.run = vcpu.run
        self._loop.bus = buses.bus
        self._loop.reader = index
        self._loop.gate = gate.words
        self._loop.ring = ring
        self._loop.sync_regs = sync_regs
        self._keep = ring, gate
        self._time = time
        if time is not None:
            self._loop.time = time.words

    def work(self) -> None:
        """Alternate between the C loop and the devices that must answer."""
        loop, answer = self._loop, self._buses.answer
        try:
            if self._time is not None:
                self._time.begin()
                if self._time.steps:
                    self._loop.debug.after_sti = True
                    self.set_debug(0, [0] * 8)
            while True:
                while (outcome := lib.vcpu_run(loop)) == lib.VCPU_ACCESS:
                    self.answering = True
                    answer(loop.access)
                    self.answering = False
                if self._time is None or not self._goes_on(self._time, outcome):
                    break
            self.outcome = outcome
            if outcome == lib.VCPU_EXIT and self.exit_reason == lib.KVM_EXIT_SHUTDOWN and self.was_reset():
                self._forget_rip()
        except BaseException as error:
            self.failure = error
        lib.vcpu_finish(loop)
        self._ended(self)
        lib.vcpu_leave(loop)

    def _goes_on(self, time: "VirtualTime", outcome: int) -> bool:
        """Do what virtual time asks for; False: it asks for nothing, and the thread ends."""
        if outcome == lib.VCPU_REPLAY:
            return time.replay(self._loop, self.vcpu)
        if outcome == lib.VCPU_DEBUG:
            return time.trapped(self)
        if outcome == lib.VCPU_EXAMINE:
            time.examine()
            return True
        if outcome not in (lib.VCPU_DUE, lib.VCPU_INTERRUPT):
            return False
        self.ticking = True
        if outcome == lib.VCPU_DUE:
            time.tick()
        else:
            time.interrupt(self.vcpu)
        self.ticking = False
        return True

    def was_reset(self) -> bool:
        """Whether the vCPU is in the state after INIT. kvm_amd resets a vCPU whose guest shuts down, before user space
        sees the exit (svm.c, shutdown_interception)."""
        try:
            return is_reset(self.vcpu.registers().state)
        except KvmError:  # without registers from KVM, nothing shows a reset
            return False

    def _forget_rip(self) -> None:
        """Clear the RIP flag of the current exit's record: the RIP is not the guest's."""
        if self._loop.record:
            self._loop.record.rip = 0
            self._loop.record.flags &= ~FLAGS["RIP"]

    def kept(self) -> Kept | None:
        """The registers at the last exit that was no shutdown; None if there was none, or KVM does not sync them."""
        kept = self._loop.kept
        if not (kept.tsc_regs and kept.tsc_sregs):
            return None
        return Kept(as_registers(kept.regs, kept.sregs), int(kept.tsc_regs), int(kept.tsc_sregs))

    def stop(self) -> None:
        """Make the thread leave KVM_RUN, or not enter it. The thread ends once its last access is complete."""
        lib.vcpu_stop(self._loop, self.native_id or 0, KICK)  # 0 stands for no thread, which is no error

    def kick(self) -> None:
        """Make the thread leave KVM_RUN, or not enter it. It then waits at the gate if that is closed."""
        lib.vcpu_kick(self._loop, self.native_id or 0, KICK)

    def stands(self) -> bool:
        """Whether it waits at the closed gate, its last access complete, or has ended; the look takes up to 0.1 s."""
        return lib.vcpu_stands(self._loop)

    @property
    def debug(self) -> "_native.GuestDebugFields":
        """What a debugger asks of the vCPU, and its newest stop: the loop's own struct."""
        return self._loop.debug

    def hold(self) -> None:
        """Make the thread wait at its next entry until :meth:`release`. The machine is paused, or has not begun."""
        self._loop.debug.held = lib.DEBUG_HELD

    def stop_for_debugger(self) -> None:
        """Make the thread, which is the caller, wait at its next entry, and tell the debugger."""
        self._loop.debug.held = lib.DEBUG_STOPPED
        os.eventfd_write(self._loop.debug.event, 1)

    def release(self) -> None:
        """Let a held thread go. The machine is paused."""
        lib.vcpu_release(self._loop)

    def set_debug(self, asked: int, registers: Sequence[int], inject: int = 0) -> None:
        """KVM_SET_GUEST_DEBUG: what a debugger asks for (KVM_GUESTDBG_* bits), DR0 to DR7, and exceptions for the guest
        (KVM_GUESTDBG_INJECT_*). The machine is paused. Raises KvmError."""
        debug = self._loop.debug
        debug.asked = asked
        ffi.buffer(debug.registers)[:] = DEBUG_REGISTERS.pack(*registers)
        if not lib.vcpu_debug(self._loop, inject):
            raise KvmError(ffi.errno, "KVM_SET_GUEST_DEBUG", "KVM_CAP_SET_GUEST_DEBUG")

    def asked(self) -> tuple[int, int, bool]:
        """The access that Python answered last: the device's index, the offset, whether it is a write."""
        access = self._loop.access
        return self._buses.places[access.region].device, int(access.offset), bool(access.write)

    @property
    def error(self) -> str:
        """The errno with which KVM_RUN failed."""
        return os.strerror(self._loop.error)

    @property
    def exit_reason(self) -> int:
        """The KVM_EXIT_* number of the last exit."""
        return int(self._loop.run.exit_reason)

    @property
    def counts(self) -> list[int]:
        """Exits by KVM_EXIT_* number."""
        return list(self._loop.counts[0:REASON_COUNTS])

    def suberror(self) -> tuple[int, list[int]]:
        """KVM_EXIT_INTERNAL_ERROR: the suberror and the data words."""
        data = ffi.new("uint64_t[]", 16)
        count = lib.run_internal_data(self._loop.run, data)
        return int(lib.run_suberror(self._loop.run)), [int(word) for word in data[0:count]]

    def hardware_reason(self) -> int:
        """KVM_EXIT_FAIL_ENTRY: the processor's reason."""
        return int(lib.run_hardware_reason(self._loop.run))

    def system_event(self) -> int:
        """KVM_EXIT_SYSTEM_EVENT: its type."""
        return int(lib.run_system_event(self._loop.run))


def handle_kicks() -> None:
    """Install the empty handler that makes :data:`KICK` interrupt KVM_RUN."""
    if not lib.vcpu_handle_signal(int(KICK)):
        raise OSError(ffi.errno, os.strerror(ffi.errno))
